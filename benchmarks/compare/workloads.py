"""The networks of the comparison in PyTorch, with the names that Gradus gives their weights."""

import torch
from torch import nn
import torch.nn.functional as F


class Mlp(nn.Module):
    def __init__(self, *sizes):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
        self.hidden, self.output = nn.Linear(64 * 7 * 7, 128), nn.Linear(128, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.output(F.relu(self.hidden(x.flatten(1))))


class ConvNormRelu(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b)

    def forward(self, x):
        return F.relu(self.norm(self.conv(x)))


class ResidualPair(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.first, self.second = ConvNormRelu(channels, channels), ConvNormRelu(channels, channels)

    def forward(self, x):
        return x + self.second(self.first(x))


class ResNet9(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.prepare, self.layer1 = ConvNormRelu(3, width), ConvNormRelu(width, 2 * width)
        self.residual1 = ResidualPair(2 * width)
        self.layer2, self.layer3 = ConvNormRelu(2 * width, 4 * width), ConvNormRelu(4 * width, 8 * width)
        self.residual3 = ResidualPair(8 * width)
        self.output = nn.Linear(8 * width, 10)

    def forward(self, x):
        x = F.max_pool2d(self.layer1(self.prepare(x)), 2)
        x = F.max_pool2d(self.layer2(self.residual1(x)), 2)
        x = self.residual3(F.max_pool2d(self.layer3(x), 2))
        return self.output(F.max_pool2d(x, x.shape[2:]).flatten(1))


class ResidualBlock(nn.Module):
    """torchvision's BasicBlock, or with `bottleneck` its Bottleneck."""

    def __init__(self, a, width, stride, bottleneck):
        super().__init__()
        b = 4 * width if bottleneck else width
        conv = lambda a, b, size, stride: nn.Conv2d(a, b, size, stride, size // 2, bias=False)
        if bottleneck:
            self.conv1, self.bn1 = conv(a, width, 1, 1), nn.BatchNorm2d(width)
            self.conv2, self.bn2 = conv(width, width, 3, stride), nn.BatchNorm2d(width)
            self.conv3, self.bn3 = conv(width, b, 1, 1), nn.BatchNorm2d(b)
        else:
            self.conv1, self.bn1 = conv(a, width, 3, stride), nn.BatchNorm2d(width)
            self.conv2, self.bn2 = conv(width, width, 3, 1), nn.BatchNorm2d(width)
        self.bottleneck = bottleneck
        if stride != 1 or a != b:
            self.downsample = nn.Sequential(conv(a, b, 1, stride), nn.BatchNorm2d(b))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.bottleneck:
            y = self.bn3(self.conv3(F.relu(y)))
        return F.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class ResNet(nn.Module):
    """torchvision's: resnet18 is ResNet(64, (2, 2, 2, 2), False), resnet50 is ResNet(64, (3, 4, 6, 3), True)."""

    def __init__(self, width, blocks, bottleneck, classes=1000):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        a = width
        for i, count in enumerate(blocks):
            stage = nn.Sequential()
            for k in range(count):
                stage.append(ResidualBlock(a, width << i, 2 if i > 0 and k == 0 else 1, bottleneck))
                a = (width << i) * (4 if bottleneck else 1)
            self.add_module(f"layer{i + 1}", stage)
        self.fc = nn.Linear(a, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class LstmForecaster(nn.Module):
    def __init__(self, n_in, horizon, hidden=128, layers=2):
        super().__init__()
        self.lstm = nn.LSTM(n_in, hidden, layers, batch_first=True)
        self.output = nn.Linear(hidden, horizon)

    def forward(self, x):
        return self.output(self.lstm(x)[1][0][-1])


class GruForecaster(nn.Module):
    def __init__(self, n_in, horizon, hidden=128, layers=2):
        super().__init__()
        self.gru = nn.GRU(n_in, hidden, layers, batch_first=True)
        self.output = nn.Linear(hidden, horizon)

    def forward(self, x):
        return self.output(self.gru(x)[1][-1])


class KeyValueCache:
    """Keys and values of the tokens so far, in memory for all that may come."""

    def __init__(self, heads, context, d):
        self.sizes, self.held, self.length = (2, 1, heads, context, d), None, 0

    def append(self, k, v):
        if self.held is None:
            self.held = k.new_empty(self.sizes)
        end = self.length + k.shape[2]
        self.held[0, :, :, self.length : end], self.held[1, :, :, self.length : end] = k, v
        self.length = end
        return self.held[0, :, :, :end], self.held[1, :, :, :end]


class GptAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x, cache=None):
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.c_attn(x).chunk(3, -1))
        if cache is not None:
            k, v = cache.append(k, v)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=q.shape[2] > 1)
        return self.c_proj(y.transpose(1, 2).flatten(2))


class GptMlp(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.c_fc, self.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class GptBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(width), GptAttention(width, heads)
        self.ln_2, self.mlp = nn.LayerNorm(width), GptMlp(width)

    def forward(self, x, cache=None):
        x = x + self.attn(self.ln_1(x), cache)
        return x + self.mlp(self.ln_2(x))


class Gpt(nn.Module):
    """GPT-2's shape, without dropout."""

    def __init__(self, vocabulary, context, layers, heads, width):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.h = nn.ModuleList(GptBlock(width, heads) for _ in range(layers))
        self.ln_f = nn.LayerNorm(width)
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=0.02)

    def make_cache(self):
        d = self.wte.embedding_dim // self.h[0].attn.heads
        return [KeyValueCache(block.attn.heads, self.wpe.num_embeddings, d) for block in self.h]

    def forward(self, ids, caches=None):
        before = caches[0].length if caches else 0
        x = self.wte(ids) + self.wpe.weight[before : before + ids.shape[1]]
        for i, block in enumerate(self.h):
            x = block(x, caches[i] if caches else None)
        return F.linear(self.ln_f(x), self.wte.weight)


class LlamaAttention(nn.Module):
    def __init__(self, width, heads, kv_heads):
        super().__init__()
        d = width // heads
        self.heads, self.kv_heads = heads, kv_heads
        self.q_proj, self.k_proj = nn.Linear(width, width, False), nn.Linear(width, kv_heads * d, False)
        self.v_proj, self.o_proj = nn.Linear(width, kv_heads * d, False), nn.Linear(width, width, False)

    def forward(self, x):
        q = self.q_proj(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
        k = self.k_proj(x).unflatten(2, (self.kv_heads, -1)).transpose(1, 2)
        v = self.v_proj(x).unflatten(2, (self.kv_heads, -1)).transpose(1, 2)
        d = q.shape[3]
        t, i = torch.arange(q.shape[2]).to(x.dtype), torch.arange(0, d, 2).to(x.dtype)
        angles = torch.outer(t, 10000.0 ** (-i / d)).repeat(1, 2)

        def turned(y):
            return y * angles.cos() + torch.cat([-y[..., d // 2 :], y[..., : d // 2]], -1) * angles.sin()

        y = F.scaled_dot_product_attention(turned(q), turned(k), v, is_causal=True, enable_gqa=True)
        return self.o_proj(y.transpose(1, 2).flatten(2))


class LlamaMlp(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(width, hidden, False), nn.Linear(width, hidden, False)
        self.down_proj = nn.Linear(hidden, width, False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class LlamaLayer(nn.Module):
    def __init__(self, width, heads, kv_heads, hidden):
        super().__init__()
        self.self_attn, self.mlp = LlamaAttention(width, heads, kv_heads), LlamaMlp(width, hidden)
        self.input_layernorm = nn.RMSNorm(width, eps=1e-5)
        self.post_attention_layernorm = nn.RMSNorm(width, eps=1e-5)

    def forward(self, x):
        x = x + self.self_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    def __init__(self, vocabulary, layers, heads, kv_heads, width, hidden):
        super().__init__()
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(vocabulary, width)
        self.model.layers = nn.ModuleList(LlamaLayer(width, heads, kv_heads, hidden) for _ in range(layers))
        self.model.norm = nn.RMSNorm(width, eps=1e-5)
        self.lm_head = nn.Linear(width, vocabulary, False)

    def forward(self, ids):
        x = self.model.embed_tokens(ids)
        for layer in self.model.layers:
            x = layer(x)
        return self.lm_head(self.model.norm(x))


class SelfAttention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.query, self.key, self.value = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x, heads, mask=None):
        q, k, v = (f(x).unflatten(2, (heads, -1)).transpose(1, 2) for f in (self.query, self.key, self.value))
        return F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2)


class Dense(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.dense = nn.Linear(a, b)

    def forward(self, x):
        return self.dense(x)


class BertAddNorm(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.dense, self.LayerNorm = nn.Linear(a, b), nn.LayerNorm(b, 1e-12)

    def forward(self, x, around):
        return self.LayerNorm(around + self.dense(x))


class BertLayer(nn.Module):
    def __init__(self, width, heads, hidden):
        super().__init__()
        self.heads, self.attention = heads, nn.Module()
        self.attention.self, self.attention.output = SelfAttention(width), BertAddNorm(width, width)
        self.intermediate, self.output = Dense(width, hidden), BertAddNorm(hidden, width)

    def forward(self, x, mask):
        y = self.attention.output(self.attention.self(x, self.heads, mask), x)
        return self.output(F.gelu(self.intermediate(y)), y)


class Bert(nn.Module):
    """Hugging Face's BertModel with its pooler, without dropout."""

    def __init__(self, vocabulary, context, layers, heads, width, hidden):
        super().__init__()
        self.embeddings, self.encoder = nn.Module(), nn.Module()
        self.embeddings.word_embeddings = nn.Embedding(vocabulary, width)
        self.embeddings.position_embeddings = nn.Embedding(context, width)
        self.embeddings.token_type_embeddings = nn.Embedding(2, width)
        self.embeddings.LayerNorm = nn.LayerNorm(width, 1e-12)
        self.encoder.layer = nn.ModuleList(BertLayer(width, heads, hidden) for _ in range(layers))
        self.pooler = Dense(width, width)

    def forward(self, ids, seen=None, types=None):
        e = self.embeddings
        types = torch.zeros_like(ids) if types is None else types
        mask = None if seen is None else seen[:, None, None, :]
        x = e.word_embeddings(ids) + e.token_type_embeddings(types) + e.position_embeddings.weight[: ids.shape[1]]
        x = e.LayerNorm(x)
        for layer in self.encoder.layer:
            x = layer(x, mask)
        return x, torch.tanh(self.pooler(x[:, 0]))


class BertClassifier(nn.Module):
    def __init__(self, classes, *sizes):
        super().__init__()
        self.bert, self.classifier = Bert(*sizes), nn.Linear(sizes[4], classes)

    def forward(self, ids, seen=None, types=None):
        return self.classifier(self.bert(ids, seen, types)[1])


class VitLayer(nn.Module):
    def __init__(self, width, heads, hidden):
        super().__init__()
        self.heads, self.attention = heads, nn.Module()
        self.attention.attention, self.attention.output = SelfAttention(width), Dense(width, width)
        self.intermediate, self.output = Dense(width, hidden), Dense(hidden, width)
        self.layernorm_before, self.layernorm_after = nn.LayerNorm(width, 1e-12), nn.LayerNorm(width, 1e-12)

    def forward(self, x):
        x = x + self.attention.output(self.attention.attention(self.layernorm_before(x), self.heads))
        return x + self.output(F.gelu(self.intermediate(self.layernorm_after(x))))


class Vit(nn.Module):
    """Hugging Face's ViTForImageClassification."""

    def __init__(self, image, patch, classes, layers, heads, width, hidden):
        super().__init__()
        self.vit = nn.Module()
        self.vit.embeddings = nn.Module()
        self.vit.embeddings.cls_token = nn.Parameter(torch.randn(1, 1, width))
        self.vit.embeddings.position_embeddings = nn.Parameter(torch.randn(1, (image // patch) ** 2 + 1, width))
        self.vit.embeddings.patch_embeddings = nn.Module()
        self.vit.embeddings.patch_embeddings.projection = nn.Conv2d(3, width, patch, patch)
        self.vit.encoder = nn.Module()
        self.vit.encoder.layer = nn.ModuleList(VitLayer(width, heads, hidden) for _ in range(layers))
        self.vit.layernorm = nn.LayerNorm(width, 1e-12)
        self.classifier = nn.Linear(width, classes)

    def forward(self, images):
        e = self.vit.embeddings
        x = e.patch_embeddings.projection(images).flatten(2).transpose(1, 2)
        x = torch.cat([e.cls_token.expand(len(x), -1, -1), x], 1) + e.position_embeddings
        for layer in self.vit.encoder.layer:
            x = layer(x)
        return self.classifier(self.vit.layernorm(x)[:, 0])


class ConvNormRelu6(nn.Sequential):
    def __init__(self, a, b, kernel, stride, groups=1):
        super().__init__(nn.Conv2d(a, b, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(b),
                         nn.ReLU6())


class InvertedResidual(nn.Module):
    def __init__(self, a, b, stride, expansion):
        super().__init__()
        wide, self.adds = a * expansion, stride == 1 and a == b
        parts = [] if expansion == 1 else [ConvNormRelu6(a, wide, 1, 1)]
        parts += [ConvNormRelu6(wide, wide, 3, stride, wide), nn.Conv2d(wide, b, 1, bias=False), nn.BatchNorm2d(b)]
        self.conv = nn.Sequential(*parts)

    def forward(self, x):
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(nn.Module):
    """torchvision's, without dropout."""

    def __init__(self, width=1.0, classes=1000):
        super().__init__()

        def eighths(x):
            rounded = max(8, int(x + 4) // 8 * 8)
            return rounded + 8 if rounded < 0.9 * x else rounded

        a, last = eighths(32 * width), eighths(1280 * max(1.0, width))
        parts = [ConvNormRelu6(3, a, 3, 2)]
        for expansion, channels, blocks, stride in [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2),
                                                    (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]:
            for i in range(blocks):
                parts.append(InvertedResidual(a, eighths(channels * width), stride if i == 0 else 1, expansion))
                a = eighths(channels * width)
        self.features = nn.Sequential(*parts, ConvNormRelu6(a, last, 1, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.0), nn.Linear(last, classes))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


class TemporalBlock(nn.Module):
    def __init__(self, a, b, kernel, dilation):
        super().__init__()
        self.behind = (kernel - 1) * dilation
        self.conv1, self.conv2 = nn.Conv1d(a, b, kernel, 1, 0, dilation), nn.Conv1d(b, b, kernel, 1, 0, dilation)
        if a != b:
            self.downsample = nn.Conv1d(a, b, 1)

    def forward(self, x):
        y = F.relu(self.conv1(F.pad(x, (self.behind, 0))))
        y = F.relu(self.conv2(F.pad(y, (self.behind, 0))))
        return F.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class Tcn(nn.Module):
    def __init__(self, a, horizon, channels, kernel):
        super().__init__()
        sizes = [a, *channels]
        self.network = nn.ModuleList(TemporalBlock(a, b, kernel, 2**i) for i, (a, b) in enumerate(zip(sizes, channels)))
        self.output = nn.Linear(channels[-1], horizon)

    def forward(self, x):
        x = x.transpose(1, 2)
        for block in self.network:
            x = block(x)
        return self.output(x[:, :, -1])


class DoubleConv(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b)
        self.conv2, self.bn2 = nn.Conv2d(b, b, 3, padding=1, bias=False), nn.BatchNorm2d(b)

    def forward(self, x):
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class UNet(nn.Module):
    def __init__(self, channels, classes, width, levels):
        super().__init__()
        widths = [width * 2**i for i in range(levels + 1)]
        self.first = DoubleConv(channels, width)
        self.down = nn.ModuleList(DoubleConv(a, b) for a, b in zip(widths, widths[1:]))
        self.up = nn.ModuleList(DoubleConv(a + b, a) for a, b in zip(widths[-2::-1], widths[:0:-1]))
        self.output = nn.Conv2d(width, classes, 1)

    def forward(self, x):
        seen = [self.first(x)]
        for block in self.down:
            seen.append(block(F.max_pool2d(seen[-1], 2)))
        x = seen.pop()
        for block in self.up:
            beside = seen.pop()
            x = block(torch.cat([beside, F.interpolate(x, beside.shape[2:], mode="bilinear")], 1))
        return self.output(x)


class MatrixFactorisation(nn.Module):
    def __init__(self, user_count, item_count, width):
        super().__init__()
        self.users, self.items = nn.Embedding(user_count, width), nn.Embedding(item_count, width)

    def forward(self, ids):
        return (self.users(ids[:, 0]) * self.items(ids[:, 1])).sum(1)


def token_loss(logits, labels):
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten())


class Add(nn.Module):
    """Has no weights: its two operands are the batch."""


def classes(batch, *shape):
    return lambda g: (torch.randn(batch, *shape, generator=g), torch.randint(10, (batch,), generator=g))


def yes_or_no(*shape):
    return lambda g: torch.randint(2, shape, generator=g).float()


def ratings(batch, users, items):
    return lambda g: (torch.stack([torch.randint(users, (batch,), generator=g), torch.randint(items, (batch,), generator=g)], 1),
                      torch.randn(batch, generator=g))


def texts(batch, tokens, vocabulary):
    return lambda g: (torch.randint(vocabulary, (batch, tokens), generator=g), torch.randint(vocabulary, (batch, tokens), generator=g))


def numbers(batch, width):
    return lambda g: (torch.randn(batch, width, generator=g), torch.randn(batch, 1, generator=g))


# name: (network, batch maker, loss, steps in a turn)
WORKLOADS = {
    "mlp": (lambda: Mlp(784, 512, 512, 10), classes(128, 784), F.cross_entropy, 40),
    "deep_mlp": (lambda: Mlp(28, 300, 300, 300, 300, 300, 1), numbers(100, 28), F.mse_loss, 40),
    "lenet": (LeNet, classes(128, 1, 28, 28), F.cross_entropy, 6),
    "resnet9": (lambda: ResNet9(32), classes(64, 3, 32, 32), F.cross_entropy, 2),
    "resnet18": (lambda: ResNet(64, (2, 2, 2, 2), False, 10), classes(16, 3, 64, 64), F.cross_entropy, 3),
    "mobilenet_v2": (lambda: MobileNetV2(1.0, 10), classes(16, 3, 64, 64), F.cross_entropy, 4),
    "unet": (lambda: UNet(3, 1, 16, 3),
             lambda g: (torch.randn(16, 3, 64, 64, generator=g), yes_or_no(16, 1, 64, 64)(g)),
             F.binary_cross_entropy_with_logits, 3),
    "lstm": (lambda: LstmForecaster(16, 14),
             lambda g: (torch.randn(64, 90, 16, generator=g), torch.randn(64, 14, generator=g)), F.mse_loss, 8),
    "gru": (lambda: GruForecaster(16, 14),
            lambda g: (torch.randn(64, 90, 16, generator=g), torch.randn(64, 14, generator=g)), F.mse_loss, 8),
    "bert": (lambda: BertClassifier(10, 4096, 128, 4, 6, 384, 1536),
             lambda g: (torch.randint(4096, (8, 128), generator=g), torch.randint(10, (8,), generator=g)), F.cross_entropy, 2),
    "gpt": (lambda: Gpt(4096, 256, 6, 6, 384), texts(8, 256, 4096), token_loss, 1),
    # A step makes one token behind a prompt of 128; its "loss" is the logit of that token.
    "decode": (lambda: Gpt(4096, 256, 6, 6, 384),
               lambda g: (torch.randint(4096, (1, 128), generator=g), torch.zeros(1, dtype=torch.int64)), "decode", 60),
    "factors": (lambda: MatrixFactorisation(6000, 4000, 32), ratings(1024, 6000, 4000), F.mse_loss, 40),
    "logistic": (lambda: nn.Linear(64, 1), lambda g: (torch.randn(1, 64, generator=g), yes_or_no(1, 1)(g)),
                 F.binary_cross_entropy_with_logits, 500),
    "tiny_mlp": (lambda: Mlp(4, 8, 1), numbers(1, 4), F.mse_loss, 500),
    "add_4x4": (Add, lambda g: (torch.randn(4, 4, generator=g), torch.randn(4, 4, generator=g)), None, 1000),
}


def lookup(name):
    """(network, batch maker, loss, steps in a turn). "mlp:64,32,10" and "gpt:256,6,6,384,4096" (context, layers, heads,
    width, vocabulary) are networks of these sizes, without a batch maker."""
    base, _, text = name.partition(":")
    if not text:
        return WORKLOADS[base]
    sizes = [int(size) for size in text.split(",")]
    if base == "mlp":
        make = lambda: Mlp(*sizes)
    else:
        context, layers, heads, width, vocabulary = sizes
        make = lambda: Gpt(vocabulary, context, layers, heads, width)
    return make, None, WORKLOADS[base][2], WORKLOADS[base][3]
