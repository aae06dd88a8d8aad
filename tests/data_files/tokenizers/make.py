#!/usr/bin/env python3
"""Makes small tokenizers of every kind, and what the Python packages tokenizers and tiktoken make of many texts with them.

Needs the packages tokenizers, tiktoken, sentencepiece, protobuf and unicodedata2==16.0.0."""

import base64
import json
import pathlib
import random
import tempfile

import sentencepiece
import tiktoken
import unicodedata2
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).parent
CORPUS = ["A model is a plain struct, and one line names its parts. The training loop is six lines, not sixty.",
          "It's what we've trained: they'll don't, can't; she'd 12345 and 678.", "der Schritt, die Straße, naïve café",
          "Привет, мир! 你好，世界。 こんにちは 한국어", "def f(x):\n    return x ** 2 + 1  # gradient\n"] * 5
CL100K = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
          r"\s+(?!\S)|\s+")
SPECIAL = ["<unk>", "<s>", "</s>", "<pad>"]
TEXTS = ["", "a", " ", "\n", "Hello, world!  How are you? I'm fine; don't you think it's 12345.67?",
         "naïve café ÀÉÎÕÜ straße İstanbul ǅ ŉ", "你好，世界。これはテストです。한국어 텍스트입니다",
         "Привет, мир! Ελληνικά γράμματα שלום عربي हिन्दी ไทย", "😀👩‍👩‍👧‍👦🏳️‍🌈 🇩🇪 👍🏽",
         "def f(x):\n    return x**2 + 1  # comment\n\tif (a != b) { c->d(); }", "e\u0301 a\u030a \u1100\u1161\u11a8 ﬁ ½ Ⅷ ①",
         "\u00a0nbsp\u2003em\u200bzw\ufeff bom\x07bell\x85nel", "[CLS] x [MASK] y [SEP] <|end|>foo <s>bar</s>  [X]  z <unk>",
         "'s 'T we'LL they've I'd", "   leading and trailing   ", "a" * 300, "x y " * 20, "\r\n\r\n\t\t  \r \n", "Ａ１ ＡＢＣ ｶﾀｶﾅ",
         "𝒳𝟙 𐍈", "<0x0A> <0xZZ> ▁ ▁▁a Ġ Ċ", "foo bar xfoo bar foo barx", "modelling trained structs"]


def random_text(rng):
    blocks = [(0x20, 0x7E, 8), (0, 0x1F, 1), (0xA0, 0x24F, 2), (0x300, 0x36F, 1), (0x370, 0x52F, 1), (0x590, 0x6FF, 1),
              (0x900, 0xDFF, 1), (0x1100, 0x11FF, 1), (0x2000, 0x206F, 1), (0x3000, 0x30FF, 1), (0x4E00, 0x9FFF, 1),
              (0xAC00, 0xD7A3, 1), (0xF900, 0xFFFF, 1), (0x1F300, 0x1FAFF, 1), (0x1D400, 0x1D7FF, 1)]
    text = ""
    for _ in range(rng.randint(1, 12)):
        if rng.random() < 0.5:
            text += rng.choice("the model of trained Lines and it's we've loss 12 345 <s> foo".split()) + rng.choice([" ", ", ", "\n"])
        else:
            low, high, _ = rng.choices(blocks, [weight for _, _, weight in blocks])[0]
            text += chr(rng.randint(low, high))
    return text


def texts():
    rng = random.Random(7)
    raw = [text.encode() for text in TEXTS + [random_text(rng) for _ in range(40)]]
    for _ in range(20):  # broken UTF-8
        broken = bytearray(rng.choice(raw[4:]))
        for _ in range(3):
            broken[rng.randrange(len(broken))] = rng.randrange(1, 256)
        raw.append(bytes(broken))
    return raw


def bpe(size, alphabet=(), **options):
    model = {key: value for key, value in options.items() if key != "special"}
    trained = {key: value for key, value in model.items() if key in ("end_of_word_suffix", "continuing_subword_prefix")}
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=options.get("special", SPECIAL), show_progress=False,
                                  initial_alphabet=list(alphabet), **trained)
    return Tokenizer(models.BPE(**model)), trainer


def trained(tokenizer, trainer, normalizer=None, pre=None, decoder=None, post=None, added=()):
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre is not None:
        tokenizer.pre_tokenizer = pre
    if decoder is not None:
        tokenizer.decoder = decoder
    tokenizer.train_from_iterator(CORPUS, trainer)
    if post is not None:
        tokenizer.post_processor = post(tokenizer)
    tokenizer.add_tokens(list(added))
    return tokenizer


def template(tokenizer):
    return processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1",
                                         special_tokens=[(t, tokenizer.token_to_id(t)) for t in ("<s>", "</s>")])


def byte_fallback():
    """As converters write it for Llama: every byte is a token, no pieces."""
    words = trained(*bpe(120, unk_token="<unk>"), normalizers.Replace(" ", "▁"), pre_tokenizers.Metaspace(), None)
    model = json.loads(words.to_str())["model"]
    names = SPECIAL + [f"<0x{byte:02X}>" for byte in range(256)] + [t for t in model["vocab"] if t not in SPECIAL]
    merges = [tuple(merge) for merge in model["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=merges, unk_token="<unk>",
                                     fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.post_processor = template(tokenizer)
    return tokenizer


def unigram():
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        (path / "text").write_text("\n".join(CORPUS))
        (path / "rules").write_text("FF21\t41\n41 30A\tC5\n61 30A\tE5\n65 301\tE9\n2460\t28 31 29\n7\t\n1100 1161\tAC00\n")
        sentencepiece.SentencePieceTrainer.train(input=path / "text", model_prefix=path / "m", vocab_size=150, minloglevel=2,
                                                 normalization_rule_tsv=path / "rules", hard_vocab_limit=False)
        model = sentencepiece_model_pb2.ModelProto()
        model.ParseFromString((path / "m.model").read_bytes())
    tokenizer = Tokenizer(models.Unigram([(p.piece, p.score) for p in model.pieces], 0, False))
    tokenizer.normalizer = normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


def make():
    letters = pre_tokenizers.ByteLevel.alphabet()
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    split = pre_tokenizers.Split(Regex(CL100K), "isolated")
    bert = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made = {}
    made["byte_level"] = trained(*bpe(320, letters), normalizers.NFC(), pre_tokenizers.Sequence([split, bytes_only]),
                                 decoders.ByteLevel(), lambda t: processors.RobertaProcessing(("</s>", 2), ("<s>", 1)),
                                 [AddedToken("foo bar", single_word=True), AddedToken("[X]", lstrip=True, rstrip=True,
                                                                                      normalized=False, special=True)])
    made["byte_fallback"] = byte_fallback()
    word_piece = trainers.WordPieceTrainer(vocab_size=180, special_tokens=bert, show_progress=False)
    made["word_piece"] = trained(Tokenizer(models.WordPiece(unk_token="[UNK]")), word_piece, normalizers.BertNormalizer(),
                                 pre_tokenizers.BertPreTokenizer(), decoders.WordPiece(),
                                 lambda t: processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2)))
    made["unigram"] = unigram()
    words = trainers.WordLevelTrainer(vocab_size=60, special_tokens=["[UNK]"], show_progress=False)
    made["word_level"] = trained(Tokenizer(models.WordLevel(unk_token="[UNK]")), words, normalizers.Lowercase(),
                                 pre_tokenizers.Whitespace())
    made["clip"] = trained(*bpe(320, letters, end_of_word_suffix="</w>"),
                           normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "),
                                                 normalizers.Lowercase()]),
                           pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(r"'s|'t|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"),
                                                                         "removed", invert=True), byte_level]),
                           decoders.BPEDecoder("</w>"))
    made["pieces"] = trained(*bpe(120, unk_token="<unk>", fuse_unk=True, continuing_subword_prefix="##"),
                             normalizers.Sequence([normalizers.NFD(), normalizers.Nmt(), normalizers.Strip()]),
                             pre_tokenizers.Sequence([pre_tokenizers.Punctuation("merged_with_previous"),
                                                      pre_tokenizers.Digits(True), pre_tokenizers.WhitespaceSplit()]),
                             decoders.CTC("<pad>", "|", True))
    made["metaspace"] = trained(*bpe(120, unk_token="<unk>"), normalizers.NFKD(),
                                pre_tokenizers.Sequence([pre_tokenizers.Metaspace(prepend_scheme="first"),
                                                         pre_tokenizers.Punctuation("contiguous"),
                                                         pre_tokenizers.Split("in", "merged_with_next")]),
                                decoders.Metaspace(prepend_scheme="first"))
    made["gpt2"] = trained(*bpe(300, letters, special=["<|endoftext|>"]), None, byte_level, decoders.ByteLevel())
    return made


def folders(made, all_texts):
    """GPT-2's and BERT's older files, tiktoken's ranks, and the ids that belong to them."""
    gpt2 = json.loads(made["gpt2"].to_str())["model"]
    (HERE / "gpt2").mkdir(exist_ok=True)
    (HERE / "gpt2" / "vocab.json").write_text(json.dumps(gpt2["vocab"], ensure_ascii=False))
    lines = ["#version: 0.2"] + [" ".join(merge) for merge in gpt2["merges"]]
    (HERE / "gpt2" / "merges.txt").write_text("\n".join(lines) + "\n")
    vocabulary = made["word_piece"].get_vocab()
    (HERE / "bert").mkdir(exist_ok=True)
    (HERE / "bert" / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.get)) + "\n")
    printable = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    others = [byte for byte in range(256) if byte not in printable]
    byte_of = {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}
    tokens = [t for t in sorted(gpt2["vocab"], key=gpt2["vocab"].get) if t != "<|endoftext|>"]
    ranks = {bytes(byte_of[c] for c in token): rank for rank, token in enumerate(tokens)}
    lines = [base64.b64encode(token).decode() + f" {rank}" for token, rank in ranks.items()]
    (HERE / "ranks.tiktoken").write_text("\n".join(lines) + "\n")
    encoding = tiktoken.Encoding("test", pat_str=CL100K, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 100257})
    return [encoding.encode(text.decode(errors="replace"), allowed_special="all") for text in all_texts]


def main():
    all_texts, made = texts(), make()
    expected = {"texts": [base64.b64encode(text).decode() for text in all_texts], "tokenizers": {}}
    for name, tokenizer in made.items():
        if name != "gpt2":
            (HERE / f"{name}.json").write_text(tokenizer.to_str())
        rows = []
        for text in all_texts:
            ids = tokenizer.encode(text.decode(errors="replace")).ids
            rows.append({"ids": ids, "text": tokenizer.decode(ids), "whole": tokenizer.decode(ids, skip_special_tokens=False)})
        pairs = []
        for strategy, direction, length in [("longest_first", "right", 9), ("longest_first", "right", 30),
                                            ("longest_first", "left", 12), ("only_first", "right", 24), ("only_second", "right", 24)]:
            tokenizer.enable_truncation(length, strategy=strategy, direction=direction)
            for first, second in [("the model is trained", "it's a plain loop of six lines"), ("a", "the model"),
                                  ("one line names its parts, not sixty", "loop")]:
                try:
                    row = tokenizer.encode(first, second)
                except Exception:
                    continue
                pairs.append({"strategy": json.loads(tokenizer.to_str())["truncation"], "first": first, "second": second,
                              "ids": row.ids, "type_ids": row.type_ids})
        tokenizer.no_truncation()
        expected["tokenizers"][name] = {"rows": rows, "pairs": pairs}
    expected["tiktoken"] = folders(made, all_texts)
    forms = ("NFC", "NFD", "NFKC", "NFKD")
    strings = [text.decode(errors="replace") for text in all_texts]
    expected["normal_forms"] = [[unicodedata2.normalize(form, text) for form in forms] for text in strings]
    (HERE / "expected.json").write_text(json.dumps(expected, ensure_ascii=False, separators=(",", ":")))


main()
