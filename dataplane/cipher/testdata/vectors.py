#!/usr/bin/env python3
"""Writes vectors.json: keys, labels, overlay addresses and shared secrets.

Plain integers and hashlib only, written from SEC 1 and SEC 2, RFC 4648 and
SHA-256, so that it shares no code with the package under test.
Run: python3 vectors.py > vectors.json
"""
import base64, hashlib, ipaddress, json

P = 2**256 - 2**32 - 977
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
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


secrets = [1, 2, N - 1, N // 2] + [
    int.from_bytes(hashlib.sha256(b"skywire cipher vector %d" % i).digest(), "big") % N for i in range(6)]
peer = mul(secrets[4], G)
out = []
for k in secrets:
    point = mul(k, G)
    pk = compress(point)
    out.append({
        "sec": k.to_bytes(32, "big").hex(),
        "pub": pk.hex(),
        "label": base64.b32encode(pk).decode().rstrip("=").lower(),
        "overlay": str(ipaddress.IPv6Address(b"\xfd" + hashlib.sha256(pk).digest()[:15])),
        "ecdh_with": compress(peer).hex(),
        "ecdh": hashlib.sha256(compress(mul(k, peer))).hexdigest(),
    })
print(json.dumps({"source": "testdata/vectors.py", "keys": out}, indent=1))
