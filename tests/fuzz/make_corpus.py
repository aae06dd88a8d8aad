#!/usr/bin/env python3
"""Writes the files that the fuzzers start from into tests/fuzz/corpus; what fuzzers find is added beside them by hand."""

import gzip
import json
import pathlib
import struct

corpus = pathlib.Path(__file__).resolve().parent / "corpus"


def write(target, name, content):
    folder = corpus / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def idx(kind, sizes, content):
    return bytes([0, 0, kind, len(sizes)]) + b"".join(struct.pack(">I", size) for size in sizes) + content


def safetensors(tensors, metadata=None):
    header, content = {}, b""
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(content), len(content) + len(data)]}
        content += data
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + content


write("idx", "bytes_2x3", idx(8, [2, 3], bytes(range(6))))
write("idx", "int16_4", idx(0x0B, [4], struct.pack(">4h", 1, -2, 300, -32768)))
write("idx", "float_2", idx(0x0D, [2], struct.pack(">2f", 0.5, float("nan"))))
write("idx", "double_1x1x2", idx(0x0E, [1, 1, 2], struct.pack(">2d", 1e300, -0.0)))
write("idx", "packed", gzip.compress(idx(8, [3], b"\0\1\xff"), mtime=0))
write("idx", "empty_sizes", idx(8, [0, 4294967295, 4294967295], b""))
write("idx", "too_large", idx(8, [4294967295, 4294967295, 4294967295], b""))

write("csv", "header", b"\0a,b,c\n1,2.5,x\n-3,,\"y,\"\"z\"\"\"\n4,1e-3,NA\n")
write("csv", "no_header", b"\x0a1\t2\r\n3\t4\r\n")
write("csv", "semicolons", "\x11name; größe ;n\n a ; 1.5 ; 2\n\"line\nbreak\";;?\n")
write("csv", "no_quotes", b"\x04a,b\n\"1,2\n3,\"\n")
write("csv", "ragged", b"\0a,b\n1\n1,2,3\n\n5,6")
write("csv", "never_closed", b"\0a,b\n1,\"open\n2,3\n")
write("csv", "large_numbers", b"\0a,b\n9223372036854775807,1e400\n-9223372036854775808,inf\n9223372036854775808,0x10\n")

write("json", "all_kinds", '{"a":[1,-2.5e3,true,false,null,"\\u00e9\\ud83d\\ude00\\n"],"b":{"c":{}},"d":[]}')
write("json", "numbers", "[0,-0,1e308,1e-320,9223372036854775807,-9223372036854775808,18446744073709551615,0.1]")
write("json", "deep", "[" * 70 + "]" * 70)
write("json", "twice", '{"a":1,"a":2}')

write("safetensors", "three", safetensors({"a": ("F32", [2], struct.pack("<2f", 1, 2)), "b": ("I64", [], struct.pack("<q", 5)),
                                           "c": ("BOOL", [3], b"\0\1\0")}, {"note": "text"}))
write("safetensors", "other_types", safetensors({"h": ("F16", [2], b"\0\x3c\0\xc0"), "u": ("U16", [1, 1], b"\xff\xff"),
                                                 "e": ("F64", [0, 3], b"")}))
write("safetensors", "nothing", safetensors({}))
write("safetensors", "overlap", struct.pack("<Q", 112)
      + b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}'.ljust(112)
      + b"abc")
write("safetensors", "long_header", struct.pack("<Q", 1 << 62) + b"{}")

run = {"best/value": ("F64", [], struct.pack("<d", 0.25)),
       "generator/offset": ("I64", [], struct.pack("<q", 3)), "generator/seed": ("I64", [], struct.pack("<q", 9)),
       "losses/value": ("F64", [2], struct.pack("<2d", 2, 1)), "step/value": ("I64", [], struct.pack("<q", 8)),
       "model/weight": ("F32", [2, 3], struct.pack("<6f", *range(6))), "model/mean": ("F32", [3], struct.pack("<3f", 7, 8, 9)),
       "note/value": ("U8", [4], b"text")}
about = {"gradus.run": "1", "gradus.saves": "3", "gradus.settings": "settings", "gradus.hash": "1"}
write("run_files", "whole", safetensors(run, about))
write("run_files", "other_shape", safetensors({**run, "model/mean": ("F32", [1, 3], struct.pack("<3f", 7, 8, 9))}, about))
write("run_files", "missing", safetensors({name: run[name] for name in list(run)[:-2]}, about))
write("run_files", "no_metadata", safetensors(run))

write("metrics", "records", '{"step":1,"epoch":1,"seconds":0.5,"loss":2.5}\n{"step":2,"epoch":1,"seconds":1,"loss":"NaN","x,y":-1}\n')
write("metrics", "cut", '{"step":1,"epoch":1,"seconds":0.5,"loss":2.5}\n{"step":2,"ep')
write("metrics", "not_a_record", '{"step":1,"epoch":1,"seconds":0.5}\n[1]\n')
write("metrics", "infinite", '{"step":1,"epoch":0,"seconds":0.0,"a":"Infinity","b":"-Infinity","c":"oops"}\n')

# Made by PyTorch and NumPy, see tests/io/weights_test.cpp.
files = corpus.parent.parent / "data_files" / "weights"
for name in ["nested.pt", "state_dict.pth", "evil.pt", "old.pt", "stored.npz", "packed.npz", "array.npy", "objects.npy"]:
    write("weights", name.replace(".", "_"), (files / name).read_bytes())

write("tokens", "two_bytes", b"GRATOK01" + struct.pack("<QQQ", 2, 300, 3) + struct.pack("<3H", 1, 299, 5))
write("tokens", "four_bytes", b"GRATOK01" + struct.pack("<QQQ", 4, 70000, 2) + struct.pack("<2I", 1, 69999))
write("tokens", "too_many", b"GRATOK01" + struct.pack("<QQQ", 2, 300, 2**63) + b"\1\0")

# Made by the package tokenizers, see tests/text/tokenizer_test.cpp, and one of each part that these do not have.
files = corpus.parent.parent / "data_files" / "tokenizers"
for name in ["word_piece", "word_level", "pieces", "metaspace"]:
    write("tokenizers", name, (files / f"{name}.json").read_bytes())
write("tokenizers", "unigram", json.dumps(
    {"normalizer": json.loads((files / "unigram.json").read_text())["normalizer"], "decoder": {"type": "BPEDecoder", "suffix": "</w>"},
     "model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0], ["a", -1.5], ["\u2581m", -2], ["ode", -2.5], ["l", -3]]}}))
write("tokenizers", "bytes", json.dumps(
    {"added_tokens": [{"id": 9, "content": "[X]", "lstrip": True, "rstrip": True, "special": True}],
     "truncation": {"max_length": 5, "strategy": "OnlyFirst", "direction": "Left"},
     "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "_"}, {"type": "Replace", "pattern": {"Regex": "(?i:[^\\W_]+?|\\p{Lu}{2,3}+)(?!x)"}, "content": "y"}]},
     "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "FixedLength", "length": 3}, {"type": "CharDelimiterSplit", "delimiter": "-"}, {"type": "ByteLevel"}]},
     "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 1}]},
     "post_processor": {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1]},
     "model": {"type": "BPE", "unk_token": "?", "fuse_unk": True, "byte_fallback": True,
               "vocab": {"?": 0, "<s>": 1, "</s>": 2, "y": 3, "yy": 4, "<0xC3>": 5, "<0x9F>": 6}, "merges": [["y", "y"]]}}))
