#!/usr/bin/env python3
"""Writes vectors.json: handshake transcripts, transport seals, cookies.

Written from the Noise Protocol Framework (revision 34), RFC 8439 and the
XChaCha draft (draft-irtf-cfrg-xchacha-03) with plain integers, hashlib and hmac,
so that it shares no code with the package under test. The curve's formulas are
those of SEC 1. Run: python3 vectors.py > vectors.json
"""
import hashlib, hmac, json, struct

# --- secp256k1 -------------------------------------------------------------
P = 2**256 - 2**32 - 977
G = (0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
     0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8)


def add(a, b):
    if a is None:
        return b
    if b is None:
        return a
    if a[0] == b[0]:
        if (a[1] + b[1]) % P == 0:
            return None
        m = 3 * a[0] * a[0] * pow(2 * a[1], -1, P) % P
    else:
        m = (b[1] - a[1]) * pow(b[0] - a[0], -1, P) % P
    x = (m * m - a[0] - b[0]) % P
    return x, (m * (a[0] - x) - a[1]) % P


def mul(k, p):
    r = None
    while k:
        if k & 1:
            r = add(r, p)
        p = add(p, p)
        k >>= 1
    return r


def compress(p):
    return bytes([2 + (p[1] & 1)]) + p[0].to_bytes(32, "big")


class Key:
    def __init__(self, byte):
        self.k = int.from_bytes(bytes([byte]) * 32, "big")
        self.point = mul(self.k, G)
        self.pub = compress(self.point)


def dh(a, b):
    return hashlib.sha256(compress(mul(a.k, b.point))).digest() + b"\0"


# --- ChaCha20-Poly1305 (RFC 8439) ------------------------------------------
def rotl(v, n):
    return ((v << n) | (v >> (32 - n))) & 0xFFFFFFFF


def quarter(s, a, b, c, d):
    for x, y, z, n in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        s[x] = (s[x] + s[y]) & 0xFFFFFFFF
        s[z] = rotl(s[z] ^ s[x], n)


def rounds(s):
    for _ in range(10):
        for a, b, c, d in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
                           (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            quarter(s, a, b, c, d)


CONST = struct.unpack("<4I", b"expand 32-byte k")


def block(key, counter, nonce):
    start = list(CONST) + list(struct.unpack("<8I", key)) + [counter] + list(struct.unpack("<3I", nonce))
    s = start[:]
    rounds(s)
    return struct.pack("<16I", *[(a + b) & 0xFFFFFFFF for a, b in zip(s, start)])


def stream(key, nonce, data):
    out = b""
    for i in range(0, len(data), 64):
        out += bytes(a ^ b for a, b in zip(data[i:i + 64], block(key, 1 + i // 64, nonce)))
    return out


def poly1305(key, msg):
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    acc = 0
    for i in range(0, len(msg), 16):
        acc = (acc + int.from_bytes(msg[i:i + 16] + b"\1", "little")) * r % (2**130 - 5)
    return ((acc + int.from_bytes(key[16:], "little")) % 2**128).to_bytes(16, "little")


def pad16(b):
    return b + bytes(-len(b) % 16)


def seal(key, nonce, ad, plain):
    c = stream(key, nonce, plain)
    tag = poly1305(block(key, 0, nonce)[:32], pad16(ad) + pad16(c) + struct.pack("<QQ", len(ad), len(c)))
    return c + tag


def xseal(key, nonce, ad, plain):
    s = list(CONST) + list(struct.unpack("<8I", key)) + list(struct.unpack("<4I", nonce[:16]))
    rounds(s)
    subkey = struct.pack("<8I", *(s[:4] + s[12:]))
    return seal(subkey, bytes(4) + nonce[16:], ad, plain)


# RFC 8439, section 2.8.2: this script checks itself before it speaks.
_t = seal(bytes(range(0x80, 0xA0)), bytes.fromhex("070000004041424344454647"),
          bytes.fromhex("50515253c0c1c2c3c4c5c6c7"),
          b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.")
assert _t[-16:].hex() == "1ae10b594f09e26a7e902ecbd0600691", _t[-16:].hex()
# draft-irtf-cfrg-xchacha-03, appendix A.3.1.
_t = xseal(bytes(range(0x80, 0xA0)), bytes(range(0x40, 0x58)), bytes.fromhex("50515253c0c1c2c3c4c5c6c7"),
           b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.")
assert _t[-16:].hex() == "c0875924c1c7987947deafd8780acf49", _t[-16:].hex()


# --- Noise (revision 34, section 5) ----------------------------------------
def hkdf(ck, ikm):
    temp = hmac.new(ck, ikm, hashlib.sha256).digest()
    one = hmac.new(temp, b"\1", hashlib.sha256).digest()
    return one, hmac.new(temp, one + b"\2", hashlib.sha256).digest()


class Symmetric:
    def __init__(self, name):
        self.h = hashlib.sha256(name).digest() if len(name) > 32 else name.ljust(32, b"\0")
        self.ck, self.k, self.n = self.h, None, 0

    def mix_hash(self, data):
        self.h = hashlib.sha256(self.h + data).digest()

    def mix_key(self, ikm):
        self.ck, self.k = hkdf(self.ck, ikm)
        self.n = 0

    def encrypt_and_hash(self, plain):
        out = plain
        if self.k is not None:
            out = seal(self.k, noise_nonce(self.n), self.h, plain)
            self.n += 1
        self.mix_hash(out)
        return out


def noise_nonce(n):
    return bytes(4) + struct.pack("<Q", n)


PATTERNS = {  # pre-messages (initiator's static, responder's static), then the messages
    "XK": ((False, True), ("e es", "e ee", "s se")),
    "KK": ((True, True), ("e es ss", "e ee se")),
    "IK": ((False, True), ("e es s ss", "e ee se")),
}


def transcript(pattern, prologue, payloads):
    (pre_i, pre_r), messages = PATTERNS[pattern]
    s = {"i": Key(0x11), "r": Key(0x22)}
    e = {"i": Key(0x33), "r": Key(0x44)}
    sym = Symmetric(b"Noise_%s_Secp256k1_ChaChaPoly_SHA256" % pattern.encode())
    sym.mix_hash(prologue)
    if pre_i:
        sym.mix_hash(s["i"].pub)
    if pre_r:
        sym.mix_hash(s["r"].pub)
    out = []
    for n, tokens in enumerate(messages):
        writer = "ir"[n % 2]
        msg = b""
        for token in tokens.split():
            if token == "e":
                msg += e[writer].pub
                sym.mix_hash(e[writer].pub)
            elif token == "s":
                msg += sym.encrypt_and_hash(s[writer].pub)
            else:  # xy: the initiator's x with the responder's y
                sym.mix_key(dh({"e": e, "s": s}[token[0]]["i"], {"e": e, "s": s}[token[1]]["r"]))
        out.append(msg + sym.encrypt_and_hash(payloads[n]))
    k1, k2 = hkdf(sym.ck, b"")
    return {"pattern": pattern, "prologue": prologue.hex(), "payloads": [p.hex() for p in payloads],
            "messages": [m.hex() for m in out], "hash": sym.h.hex(), "cs1": k1.hex(), "cs2": k2.hex(),
            "seal1": seal(k1, noise_nonce(1), b"", b"hello").hex(),
            "seal2": seal(k2, noise_nonce(1), b"", b"hello").hex()}


def blake(data, key=b"", size=32):
    return hashlib.blake2s(data, key=key, digest_size=size).digest()


responder = Key(0x22).pub
body = b"a handshake message"
secret, nonce = bytes([0x55]) * 32, bytes(range(24))
address = bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 7]) + struct.pack(">H", 51820)
mac1 = blake(body, blake(b"skywire mac1" + responder), 16)
cookie = blake(address, secret, 16)
mac2 = blake(body + mac1, cookie, 16)
key = bytes(range(32))

print(json.dumps({
    "source": "testdata/vectors.py",
    "transcripts": [
        transcript("XK", b"", [b"", b"", b""]),
        transcript("KK", b"", [b"", b""]),
        transcript("IK", b"skywire test prologue", [bytes([1, 0, 8]) + bytes(range(8)), bytes([7, 0, 2, 0xAA, 0xBB])]),
        transcript("KK", b"skywire test prologue", [b"first", b"second payload"]),
    ],
    "seals": [{"key": key.hex(), "prefix": p, "counter": c, "ad": a.hex(), "plain": t.hex(),
               "sealed": seal(key, struct.pack(">I", p) + struct.pack("<Q", c), a, t).hex()}
              for p, c, a, t in ((0, 0, b"", b""), (0, 1, b"header", b"one block and a bit more than that, so that it is two"),
                                 (0x01020304, 0x05060708090A0B0C, b"0123456789abcdef", bytes(range(100))))],
    "cookie": {"responder": responder.hex(), "body": body.hex(), "secret": secret.hex(), "nonce": nonce.hex(),
               "address": "192.0.2.7:51820", "mac1": mac1.hex(), "cookie": cookie.hex(), "mac2": mac2.hex(),
               "reply": (nonce + xseal(blake(b"skywire cookie" + responder), nonce, mac1, cookie)).hex()},
}, indent=1))
