"""Token ids of the reference tokenizers: a small vocabulary on hand-made texts, and hashes over the prompts of the shared data.

The hashes need the shared data (`../shared/data` from the repository, or the folder named by `REFL_DATA`); without it those of the
committed file are kept. The tokenizers are `CLIPTokenizer` and `BertTokenizer` of today's transformers, the older ones that ImageReward and
Stable Diffusion came with, and the `clip` package's rules (written down here: ftfy, HTML entities, white space, lower case, padding with 0).
"""

import csv
import html
import json
import os
import re
import tempfile
from pathlib import Path

import ftfy

from .imagereward import import_blip
from .store import folder, versions

DATA = Path(os.environ.get("REFL_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
BLOCK = 100
SPECIAL = ("<|startoftext|>", "<|endoftext|>")
BLIP = ("[DEC]", "[ENC]")

MERGES = (
    "t h,th e</w>,a n,an d</w>,r e,i n,in g</w>,o n</w>,o f</w>,e r</w>,c a,ca t</w>,s t,a r,e d</w>,l l,' s</w>,' t</w>,! !</w>,1 2,"
    "o o,oo d</w>,f o,r a,i t</w>,n t,e n,p i,pi c,t u,r e</w>,tu re</w>,pic ture</w>,Ã ©</w>,Ã ©,ca f,caf Ã©</w>,ð Ł,ðŁ ĺ,. .</w>,. ..</w>,x x,xx xx,"
    "xxxx xxxx"
).split(",")
PIECES = (
    "a,an,and,the,of,on,in,cat,cats,dog,picture,cafe,naive,night,sky,red,blue,un,##able,##ed,##ing,##s,##er,##ly,##like,8,##k,octane,render,"
    "12,##3,##4,x,##x,##xx,s,t,it,is,',!,.,-,—,?,#,@,(,),[,],&,;,:,/,犬,猫,hello,world,##a,##b,##c,##d,##e,sigma,σ,##σ,##ς,i,##i,ı,ss,ß,ø,"
    "wal,##king,walk,full,##width,cls,sep,%,$,+,<,>,|,=,~,^,`,_,*,\\,\""
).split(",")

TEXTS = (
    "",
    " ",
    "the cat",
    "The  CAT\tand\nthe\r\npicture",
    "it's the cat's, isn't it?",
    "IT'S SHE'LL WE'VE I'D I'M THEY'RE",
    "café CAFÉ cafe\u0301 naïve naïvely",
    "8k, Octane render — ünï 'it's",
    "“curly” ‘quotes’ and don’t",
    "a...b.... c!!!! !!",
    "1234567890 12 3 ½ Ⅷ ٣",
    "犬と猫 中文字 한국어 日本",
    "the犬cat猫picture",
    "😀🎨👩‍🚀🏳️‍🌈 ❤️ the",
    "İstanbul ıSPARTA ΣΊΣΥΦΟΣ ΑΣ ẞ straße",
    "\ufeffbom and\u200bzero\u200dwidth\u00adsoft",
    "non\u00a0breaking\u2003em\u3000ideographic\u2028line\u2029paragraph\u0085next",
    "tab\x0bvertical\x0cform\x1funit\x7fdelete\x00null",
    "fullwidth ＡＢＣ！ ｶﾞ ﾊﾝ",
    "ﬁne ﬂow oﬃce Ǆ ĳ",
    "&amp; &lt;b&gt; &quot;q&quot; &#39;s &#x41; &nbsp;x &unknown; &amp;amp;",
    "<b>&amp;</b>",
    "[CLS] a [SEP] b [MASK] [PAD] [UNK] [DEC] [ENC] [cls]",
    "a <|startoftext|> cat <|endoftext|> <|EndOfText|> dog",
    "cat<|endoftext|>dog",
    "unable unaffable walking walked walk-like catlike",
    "x" * 99 + " " + "x" * 100 + " " + "x" * 101,
    "the cat " * 60,
    "#@$%^*()_+=[]{}|\\;:'\",.<>/?`~",
    "a_b-c/d.e@f",
    "C++ C# .NET 3.14 1,000 50% $5 #1",
    "'s 't 're 've 'm 'll 'd ' '' 'S",
    "e\u0301e\u0302\u0323 \u0301 a\u0300\u0316",
    "नमस्ते สวัสดี مرحبا שלום",
    "Ǆ ǅ ǆ ŉ K Å Ω",
    "\x1b[31mred\x1b[0m sky",
    "\ufffd replacement \ue000 private \U000e0001 tag",
    "quote\u201a low\u201e „x“ ‹y› «z»",
    "…‥—–‐−",
    "long-s ſ 'ſ ſs",
    "mixed, (nested [brackets]) & \"quotes\" -- 12x34",
    "\u1e9b\u0323 \u212b \ufb2c",
)


def fnv(rows):
    """FNV-1a over the ids as 32-bit little-endian words."""
    value = 0x811C9DC5
    for row in rows:
        for token in row:
            for byte in int(token).to_bytes(4, "little", signed=True):
                value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return f"{value:08x}"


def byte_symbols():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(0x100 + i) for i in range(len(rest))]


def clip_vocabulary(merges):
    symbols = byte_symbols()
    tokens = [*symbols, *(s + "</w>" for s in symbols), *(m.replace(" ", "") for m in merges), *SPECIAL]
    return {token: i for i, token in enumerate(tokens)}


def small_files(place):
    """The small vocabularies as the files that the tokenizers open."""
    (place / "vocab.json").write_text(json.dumps(clip_vocabulary(MERGES)), encoding="utf-8")
    (place / "merges.txt").write_text("#version: 0.2\n" + "\n".join(MERGES) + "\n", encoding="utf-8")
    (place / "vocab.txt").write_text("\n".join(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *PIECES)) + "\n", encoding="utf-8")


def clip_package(tokenizer):
    """The `clip` package's cleaning before the older tokenizer's pairs, padded with 0."""
    import regex

    pattern = regex.compile(
        r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", regex.IGNORECASE
    )

    def encode(text):
        clean = re.sub(r"\s+", " ", html.unescape(html.unescape(ftfy.fix_text(text))).strip()).strip().lower()
        pieces = []
        for word in regex.findall(pattern, clean):
            symbols = "".join(tokenizer.byte_encoder[byte] for byte in word.encode("utf-8"))
            pieces += [word] if word in SPECIAL else tokenizer.bpe(symbols).split(" ")
        ids = [tokenizer.encoder[piece] for piece in pieces][:75]
        ids = [tokenizer.encoder[SPECIAL[0]], *ids, tokenizer.encoder[SPECIAL[1]]]
        return ids + [0] * (77 - len(ids))

    return encode


CUT = {"padding": "max_length", "truncation": True}


def today(clip, bert):
    """Encoders of today's transformers by name, for vocabularies in the folders `clip` and `bert`."""
    from transformers import BertTokenizer, CLIPTokenizer

    clip, bert = CLIPTokenizer.from_pretrained(str(clip)), BertTokenizer.from_pretrained(str(bert))
    return {
        "clip_nfc": lambda text: clip(text, max_length=77, **CUT)["input_ids"],
        "bert_today": lambda text: bert(text)["input_ids"],
    }


def before(clip, bert):
    """Encoders of the older transformers, which replaces today's for good."""
    import_blip()
    from transformers import BertTokenizer, CLIPTokenizer

    clip = CLIPTokenizer(str(clip / "vocab.json"), str(clip / "merges.txt"), model_max_length=77)
    bert = BertTokenizer(str(bert / "vocab.txt"))
    bert.add_special_tokens({"bos_token": BLIP[0]})
    bert.add_special_tokens({"additional_special_tokens": [BLIP[1]]})
    return {
        "clip_ftfy": lambda text: clip(text, max_length=77, **CUT)["input_ids"],
        "clip_openai": clip_package(clip),
        "bert_35": lambda text: bert(text, max_length=35, **CUT)["input_ids"],
        "bert_whole": lambda text: bert(text)["input_ids"],
    }


def prompts():
    """The prompts of the shared data by the name of their file."""
    found = {
        "refl_data.json": [row["text"] for row in json.loads((DATA / "imagereward/refl_data.json").read_text("utf-8"))],
        "test.json": [row["prompt"] for row in json.loads((DATA / "imagereward/test.json").read_text("utf-8"))],
    }
    with open(DATA / "prompts/PartiPrompts.tsv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return {**found, "PartiPrompts.tsv": [row[0] for row in rows[1:]]}


def hashes(encoders):
    return {
        file: {
            "count": len(texts),
            **{name: [fnv(map(encode, texts[i : i + BLOCK])) for i in range(0, len(texts), BLOCK)] for name, encode in encoders.items()},
        }
        for file, texts in prompts().items()
    }


def golden():
    target = folder("models") / "tokenizers.json"
    made = versions()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        small_files(place)
        there = DATA.is_dir()
        encoders = today(place, place)
        real = today(DATA / "clip", DATA / "bert") if there else {}
        encoders.update(before(place, place))
        if there:
            real.update(before(DATA / "clip", DATA / "bert"))
        small = [{"text": text, **{key: encode(text) for key, encode in encoders.items()}} for text in TEXTS]
    for row in small:
        for key, ids in row.items():
            if key.startswith(("clip", "bert_35")):
                while len(ids) > 1 and ids[-1] == ids[-2]:
                    ids.pop()
    if there:
        shared = hashes(real)
    else:
        shared = json.loads(target.read_text("utf-8"))["hashes"]
        print(f"no shared data at {DATA}: its hashes stay as they are")
    head = {"versions": {**made, "ftfy": ftfy.__version__}, "merges": MERGES, "pieces": PIECES, "block": BLOCK}
    lines = [f'"{key}": {json.dumps(value, ensure_ascii=True)}' for key, value in head.items()]
    rows = ",\n".join("  " + json.dumps(row, separators=(",", ":")) for row in small)
    lines += [f'"small": [\n{rows}\n]', f'"hashes": {json.dumps(shared, separators=(",", ":"))}']
    target.write_text("{\n" + ",\n".join(lines) + "\n}\n")


CASES = {"tokenizers": golden}
