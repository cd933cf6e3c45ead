#!/usr/bin/env python3
"""Writes wire-vectors.json: every format of wire.md once, with fixed keys.

Shares no code with the product. The curve, ChaCha20-Poly1305 and Noise come from
dataplane/noise/testdata/vectors.py, which is written from the specifications with
plain integers and hashlib as well; what is here is wire.md, line by line.
Run: python3 wire-vectors.py > wire-vectors.json
"""
import contextlib, io, json, pathlib, runpy, struct

with contextlib.redirect_stdout(io.StringIO()):  # it prints its own vectors
    N = runpy.run_path(str(pathlib.Path(__file__).parent / "../dataplane/noise/testdata/vectors.py"))
Key, Symmetric, dh, hkdf, seal, xseal, blake = (
    N[name] for name in ("Key", "Symmetric", "dh", "hkdf", "seal", "xseal", "blake"))

VERSION = 1
STATIC = {"i": Key(0x11), "r": Key(0x22)}  # secret keys: the byte, 32 times
EPHEMERAL = {"i": Key(0x33), "r": Key(0x44)}


# --- building blocks ---------------------------------------------------------
def u8(v):
    return struct.pack(">B", v)


def u16(v):
    return struct.pack(">H", v)


def u32(v):
    return struct.pack(">I", v)


def u64(v):
    return struct.pack(">Q", v)


def tlv(typ, value):  # section 6
    return u8(typ) + u16(len(value)) + value


def nonce(prefix, counter):  # section 1
    return struct.pack(">I", prefix) + struct.pack("<Q", counter)


class Noise:
    """A handshake of the pattern IK or KK between STATIC i and r."""

    def __init__(self, pattern, prologue):
        self.sym = Symmetric(b"Noise_%s_Secp256k1_ChaChaPoly_SHA256" % pattern)
        self.sym.mix_hash(prologue)
        if pattern == b"KK":
            self.sym.mix_hash(STATIC["i"].pub)
        self.sym.mix_hash(STATIC["r"].pub)
        self.tokens = {b"IK": ["e es s ss", "e ee se"], b"KK": ["e es ss", "e ee se"]}[pattern]
        self.count = 0

    def message(self, payload):
        writer, out = "ir"[self.count], b""
        for token in self.tokens[self.count].split():
            if token == "e":
                out += EPHEMERAL[writer].pub
                self.sym.mix_hash(EPHEMERAL[writer].pub)
            elif token == "s":
                out += self.sym.encrypt_and_hash(STATIC[writer].pub)
            else:  # xy: the initiator's x with the responder's y
                side = {"e": EPHEMERAL, "s": STATIC}
                self.sym.mix_key(dh(side[token[0]]["i"], side[token[1]]["r"]))
        self.count += 1
        return out + self.sym.encrypt_and_hash(payload)

    def keys(self):
        return hkdf(self.sym.ck, b"")  # initiator's sending key, responder's


def hexed(v):
    if isinstance(v, bytes):
        return v.hex()
    if isinstance(v, dict):
        return {k: hexed(x) for k, x in v.items()}
    if isinstance(v, list):
        return [hexed(x) for x in v]
    return v


# --- section 4: route packets -------------------------------------------------
def route(label, kind, flags, body):
    pkt = u32(label) + u8(kind) + u8(flags) + u16(len(body)) + body
    return pkt + bytes(-len(pkt) % 16)


def route_vector(name, label, kind, flags, body):
    return {"name": name, "label": label, "kind": kind, "flags": flags, "body": body,
            "packet": route(label, kind, flags, body)}


PACKETS = [
    route_vector("empty body", 0x00000007, 1, 0, b""),
    route_vector("eight bytes fill it", 65535, 1, 3, bytes(range(8))),
    route_vector("nine bytes need padding", 0xABC10000, 2, 1, bytes(range(9))),
    route_vector("probe", 0xFFF10001, 3, 2, bytes(range(100, 140))),
    route_vector("reply", 0x00110000, 4, 0, bytes(range(24))),
    route_vector("route error", 0x00000001, 5, 0, u8(2) + u8(0) + u16(0) + u32(9)),
    route_vector("close", 0x12345678, 6, 0, u8(1)),
]


# --- section 2: links over UDP -------------------------------------------------
def link_prologue(carrier):
    return b"skywire-link" + u8(VERSION) + u8(carrier)


def offer(timestamp, largest, direct):
    return (tlv(1, u64(timestamp)) if timestamp else b"") + tlv(2, u32(largest)) + tlv(3, u32(direct))


def mac1(msg, receiver):
    return blake(msg, blake(b"skywire mac1" + receiver.pub), 16)


def handshake_frame(typ, receiver_index, sender_index, noise_message, receiver_key, cookie=None):
    msg = u8(typ) + u8(VERSION) + u16(0) + u32(receiver_index) + u32(sender_index) + noise_message
    msg += mac1(msg, receiver_key)
    return msg + (blake(msg, cookie, 16) if cookie else bytes(16))


def data_frame(key, receiver_index, counter, pkt):
    header = u8(0x50) + u8(0) + u16(0) + u32(receiver_index) + u64(counter)
    return header + seal(key, nonce(0, counter), header, pkt)


def link_handshake(carrier, timestamp, largest, i_index, r_index):
    n = Noise(b"IK", link_prologue(carrier))
    offers = offer(timestamp, largest, 0xABC10001), offer(0, largest, 0x12310002)
    m1, m2 = n.message(offers[0]), n.message(offers[1])
    k1, k2 = n.keys()
    return {
        "carrier": carrier, "timestamp": timestamp, "largest": largest,
        "direct": [0xABC10001, 0x12310002], "index": [i_index, r_index], "payload": list(offers),
        "initiation": handshake_frame(0x51, 0, i_index, m1, STATIC["r"]),
        "response": handshake_frame(0x52, i_index, r_index, m2, STATIC["i"]),
        "keys": [k1, k2]}, m1, m2


TIMESTAMP = 1760000000123456789
SUDPH, m1, m2 = link_handshake(2, TIMESTAMP, 8928, 0x3A0001C1, 0x7F000022)
secret, cookie_nonce = bytes([0x55]) * 32, bytes(range(24))
source = bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 7]) + u16(51820)
cookie = blake(source, secret, 16)
SUDPH["cookie"] = {
    "secret": secret, "nonce": cookie_nonce, "source": "192.0.2.7:51820", "cookie": cookie,
    "reply": u8(0x53) + u8(VERSION) + u16(0) + u32(SUDPH["index"][0]) + cookie_nonce
    + xseal(blake(b"skywire cookie" + STATIC["r"].pub), cookie_nonce, SUDPH["initiation"][-32:-16], cookie),
    "initiation": handshake_frame(0x51, 0, SUDPH["index"][0], m1, STATIC["r"], cookie)}
SUDPH["data"] = [
    {"from": side, "index": SUDPH["index"][1 - side], "counter": counter, "packet": pkt,
     "frame": data_frame(SUDPH["keys"][side], SUDPH["index"][1 - side], counter, pkt)}
    for side, counter, pkt in (
        (0, 0, route(0, 3, 0, u64(1))),  # the probe that confirms the keys
        (1, 0, route(0, 4, 0, u64(1))),
        (0, 1, PACKETS[3]["packet"]),
        (1, 0x0102030405060708, route(0xABC10001, 1, 0, bytes(range(256)) * 4)))]
SUDPH["unknown_index"] = u8(0x54) + u8(VERSION) + u16(0) + u32(0) + u32(SUDPH["index"][1]) + u32(0)

# --- section 3: links over byte streams -----------------------------------------
STCPR, s1, s2 = link_handshake(1, TIMESTAMP + 1, 65520, 0, 0)


def record(key, counter, packets):
    text = b"".join(u16(len(p)) + p for p in packets)
    length = u32(len(text) + 16)
    return length + seal(key, nonce(0, counter), length, text)


first, second = route(0, 3, 0, u64(1)), PACKETS[3]["packet"]
STCPR["initiation_body"] = u32(len(STCPR["initiation"])) + STCPR["initiation"]
STCPR["records"] = [
    {"from": 0, "counter": 0, "packets": [first, second], "record": record(STCPR["keys"][0], 0, [first, second])},
    {"from": 1, "counter": 3, "packets": [second], "record": record(STCPR["keys"][1], 3, [second])}]

# --- section 4.2: link control ---------------------------------------------------
CONTROL = [
    route_vector(name, 0, kind, 0, body) for name, kind, body in (
        ("link probe", 3, u64(0x0102030405060708)),
        ("link reply", 4, u64(0x0102030405060708)),
        ("route error: too big", 5, u8(1) + u8(0) + u16(1408) + u32(0xABC10001)),
        ("route error: no such label", 5, u8(2) + u8(0) + u16(0) + u32(77)),
        ("route error: next link down", 5, u8(3) + u8(0) + u16(0) + u32(77)),
        ("route error: transit limit", 5, u8(4) + u8(0) + u16(0) + u32(77)),
        ("close: shutting down", 6, u8(1)),
        ("close: removed", 6, u8(2)),
        ("close: replaced", 6, u8(3)),
        ("close: limit", 6, u8(4)),
        ("path challenge", 0x11, u64(0xF1F2F3F4F5F6F7F8)),
        ("path echo", 0x12, u64(0xF1F2F3F4F5F6F7F8)),
        ("MTU probe", 0x13, u16(1248) + bytes(1248 - 8 - 2)),
        ("MTU found", 0x14, u16(1248)),
        ("rekey", 0x15, s1),
        ("rekeyed", 0x16, s2),
        ("switched", 0x17, b""))]

# --- section 5: session -----------------------------------------------------------
n = Noise(b"KK", b"skywire-session" + u8(VERSION))
ROUTE = {"i": 0x0A0B0C0D, "r": 0xF0E0D0C0}  # route ids, chosen by the sender of a direction
init_tlvs = tlv(1, u64(TIMESTAMP)) + tlv(4, u32(ROUTE["i"])) + tlv(5, u8(0b0010))
resp_tlvs = tlv(4, u32(ROUTE["r"])) + tlv(6, u8(2))
PHASE = 2
init_body = u8(1) + u8(VERSION) + u16(0) + n.message(init_tlvs)
resp_body = u8(2) + u8(VERSION) + u16(0) + n.message(resp_tlvs)
ik, rk = n.keys()


def sealed_body(key, kind, phase, route_id, counter, payload):  # section 5.2
    length = 8 + len(payload) + 16
    ad = u8(kind) + u8(phase) + u16(length)
    return u64(counter) + seal(key, nonce(route_id, counter), ad, payload)


def sealed_vector(name, side, kind, route_id, counter, payload):
    body = sealed_body({"i": ik, "r": rk}[side], kind, PHASE, route_id, counter, payload)
    return {"name": name, "from": "ir".index(side), "kind": kind, "phase": PHASE, "route_id": route_id,
            "counter": counter, "payload": payload, "body": body, "packet": route(0xABC10003, kind, PHASE, body)}


bind_head = u8(3) + u8(VERSION) + u16(0) + u32(0x00C0FFEE)
bind_tlvs = tlv(7, u32(0))
bind_body = bind_head + u64(0) + seal(ik, nonce(0x00C0FFEE, 0), bind_head, bind_tlvs)
udp_payload = u8(2) + u16(40000) + u16(53) + b"a datagram of the overlay"
big = u8(2) + u16(40000) + u16(53) + bytes(i & 0xFF for i in range(95))  # 100 bytes with its proto
fragments = [u8(4) + u32(0x01020304) + u16(at) + u16(len(big)) + big[at:at + 40] for at in range(0, len(big), 40)]

SESSION = {
    "prologue": b"skywire-session" + u8(VERSION),
    "prologue_class_7": b"skywire-session" + u8(VERSION) + u32(7), "route_ids": [ROUTE["i"], ROUTE["r"]], "phase": PHASE,
    "timestamp": TIMESTAMP, "phases_in_use": 2,
    "init": {"tlvs": init_tlvs, "body": init_body, "packet": route(0xABC10003, 2, 0, init_body)},
    "response": {"tlvs": resp_tlvs, "body": resp_body, "packet": route(0xABC10003, 2, 0, resp_body)},
    "keys": [ik, rk],
    "bind": {"from": 0, "route_id": 0x00C0FFEE, "counter": 0, "bound": 0, "tlvs": bind_tlvs, "body": bind_body,
             "packet": route(0xABC10004, 2, PHASE, bind_body)},
    "sealed": [
        sealed_vector("overlay UDP", "i", 1, ROUTE["i"], 0, udp_payload),
        sealed_vector("overlay UDP back, second route", "r", 1, 0x00C0FFEE, 2**40 + 1, udp_payload),
        sealed_vector("probe", "i", 3, ROUTE["i"], 1, u64(0x1122334455667788) + bytes(24)),
        sealed_vector("reply", "r", 4, ROUTE["r"], 9,
                      u64(0x1122334455667788) + u64(1000) + u64(1400000) + u16(96)),
        sealed_vector("route MTU", "r", 1, ROUTE["r"], 10, u8(5) + tlv(8, u16(1408))),
        sealed_vector("goodbye", "i", 1, ROUTE["i"], 2, u8(5) + tlv(9, u8(1)))],
    "fragments": {"id": 0x01020304, "payload": big, "pieces": fragments},
    "mux": {"number": 0xfffffffe, "inside": u8(1) + bytes(range(20)),
            "payload": u8(7) + u32(0xfffffffe) + u8(1) + bytes(range(20))},
    "mux_report": {"number": 0xfffffffe, "held_us": 1500, "at_us": 1 << 40, "packets": 77, "bytes": 2**33 + 5,
                   "payload": u8(8) + u32(0xfffffffe) + u32(1500) + u64(1 << 40) + u64(77) + u64(2**33 + 5)},
}

print(json.dumps(hexed({
    "source": "docs/wire-vectors.py", "version": VERSION,
    "secret": {"initiator": bytes([0x11]) * 32, "responder": bytes([0x22]) * 32,
               "initiator_ephemeral": bytes([0x33]) * 32, "responder_ephemeral": bytes([0x44]) * 32},
    "packets": PACKETS, "sudph": SUDPH, "stcpr": STCPR, "control": CONTROL, "session": SESSION,
}), indent=1))
