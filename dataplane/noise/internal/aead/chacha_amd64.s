//go:build !purego

#include "textflag.h"

// ChaCha20 (RFC 8439 section 2.4) on AVX-512.
//
// Layout. The state of one block is a matrix of four rows of four words. A
// register of 64 bytes holds the same row of four consecutive blocks, 16 bytes
// each, so four registers (a set: rows a, b, c, d) are four blocks. There are six
// sets, 24 blocks, 1536 bytes of key stream: the key block of Poly1305 and the
// largest packet of an Ethernet come out of one pass.
//
// In that layout a column round is the same quarter round in all columns at once:
// three instructions on whole registers for each of its four steps. The diagonals
// are turned into columns by rotating the words within the rows b, c and d by one,
// two and three places (VPSHUFD), and back.
//
// Why six: one step has to wait two cycles for the one before it (Zen 5; one on
// Intel), so a set alone leaves most of the machine idle. Four sets cost hardly
// more time than one, six cost a fifth more; beyond that the registers end. Short
// texts take two sets.
//
// At the end the rows of a set are turned into blocks (a 4x4 transposition of 16
// byte pieces), which are xored into the text one by one. The last, partial block
// is loaded and stored under a mask: bytes outside of the slices are not touched.
//
//	Z0..Z23   six sets of rows a, b, c, d
//	Z24..Z26  the rows a, b, c before the first round
//	Z27       row d of set 0 before the first round; its word 0 is the counter
//	Z28       +4 on the counter of each block
//	Z29..Z31  scratch; Z31 is the block of key stream at hand

// "expand 32-byte k", the first row of every block.
DATA sigma<>+0(SB)/8, $0x3320646e61707865
DATA sigma<>+8(SB)/8, $0x6b20657479622d32
GLOBL sigma<>(SB), RODATA|NOPTR, $16

// Numbers of the four blocks of a register within their set.
DATA lanes<>+0(SB)/8, $0
DATA lanes<>+8(SB)/8, $0
DATA lanes<>+16(SB)/8, $1
DATA lanes<>+24(SB)/8, $0
DATA lanes<>+32(SB)/8, $2
DATA lanes<>+40(SB)/8, $0
DATA lanes<>+48(SB)/8, $3
DATA lanes<>+56(SB)/8, $0
GLOBL lanes<>(SB), RODATA|NOPTR, $64

DATA four<>+0(SB)/8, $4
DATA four<>+8(SB)/8, $0
GLOBL four<>(SB), RODATA|NOPTR, $16

// The longest text, in bytes, that two sets of blocks are enough for beside the key
// block.
#define SHORT 448

// One of the four steps of a quarter round: x += y; z = (z ^ x) <<< n.
#define STEP(x, y, z, n) \
	VPADDD y, x, x; \
	VPXORD x, z, z; \
	VPROLD $n, z, z

// The step with rows a, b, d and the one with rows c, d, b, for two and six sets.
#define ABD2(n) \
	STEP(Z0, Z1, Z3, n); \
	STEP(Z4, Z5, Z7, n)

#define CDB2(n) \
	STEP(Z2, Z3, Z1, n); \
	STEP(Z6, Z7, Z5, n)

#define ABD6(n) \
	ABD2(n); \
	STEP(Z8, Z9, Z11, n); \
	STEP(Z12, Z13, Z15, n); \
	STEP(Z16, Z17, Z19, n); \
	STEP(Z20, Z21, Z23, n)

#define CDB6(n) \
	CDB2(n); \
	STEP(Z10, Z11, Z9, n); \
	STEP(Z14, Z15, Z13, n); \
	STEP(Z18, Z19, Z17, n); \
	STEP(Z22, Z23, Z21, n)

// Rotate the words of rows b, c, d to the left by 1, 2, 3 (toDiagonals) or by
// 3, 2, 1 (toColumns): the shuffle constants 0x39, 0x4e, 0x93.
#define TURN(b, c, d, i, k) \
	VPSHUFD $i, b, b; \
	VPSHUFD $0x4e, c, c; \
	VPSHUFD $k, d, d

#define TURN2(i, k) \
	TURN(Z1, Z2, Z3, i, k); \
	TURN(Z5, Z6, Z7, i, k)

#define TURN6(i, k) \
	TURN2(i, k); \
	TURN(Z9, Z10, Z11, i, k); \
	TURN(Z13, Z14, Z15, i, k); \
	TURN(Z17, Z18, Z19, i, k); \
	TURN(Z21, Z22, Z23, i, k)

// Fill a set from the rows kept; dPrev is row d of the set before.
#define START(a, b, c, d, dPrev) \
	VMOVDQA64 Z24, a; \
	VMOVDQA64 Z25, b; \
	VMOVDQA64 Z26, c; \
	VPADDD Z28, dPrev, d

// Add the first state to a set and turn it into blocks 0, 1 (of Z29 and Z30) and
// 2, 3 (of a and c); the counter of Z27 moves on to the next set.
#define FINISH(a, b, c, d) \
	VPADDD Z24, a, a; \
	VPADDD Z25, b, b; \
	VPADDD Z26, c, c; \
	VPADDD Z27, d, d; \
	VPADDD Z28, Z27, Z27; \
	VSHUFI32X4 $0x44, b, a, Z29; \
	VSHUFI32X4 $0xee, b, a, a; \
	VSHUFI32X4 $0x44, d, c, Z30; \
	VSHUFI32X4 $0xee, d, c, c

// Xor the even (0x88) or odd (0xdd) block of the halves ab, cd into the text.
#define EMIT(ab, cd, which) \
	VSHUFI32X4 $which, cd, ab, Z31; \
	CMPQ       CX, $64; \
	JLT        tail; \
	VPXORD     (SI), Z31, Z31; \
	VMOVDQU32  Z31, (DI); \
	ADDQ       $64, SI; \
	ADDQ       $64, DI; \
	SUBQ       $64, CX

#define EMIT4(a, b, c, d) \
	FINISH(a, b, c, d); \
	EMIT(Z29, Z30, 0x88); \
	EMIT(Z29, Z30, 0xdd); \
	EMIT(a, c, 0x88); \
	EMIT(a, c, 0xdd)

// Write the blocks of a set as they are to stream+at(SP).
#define STORE4(a, b, c, d, at) \
	FINISH(a, b, c, d); \
	VSHUFI32X4 $0x88, Z30, Z29, Z31; \
	VMOVDQU32  Z31, at+0(SP); \
	VSHUFI32X4 $0xdd, Z30, Z29, Z31; \
	VMOVDQU32  Z31, at+64(SP); \
	VSHUFI32X4 $0x88, c, a, Z31; \
	VMOVDQU32  Z31, at+128(SP); \
	VSHUFI32X4 $0xdd, c, a, Z31; \
	VMOVDQU32  Z31, at+192(SP)

// prepare fills Z24..Z28 from the key at AX, the nonce at BX and the counter R8.
TEXT prepare<>(SB), NOSPLIT, $0-0
	VBROADCASTI32X4 sigma<>(SB), Z24
	VBROADCASTI32X4 (AX), Z25
	VBROADCASTI32X4 16(AX), Z26
	VBROADCASTI32X4 four<>(SB), Z28
	VMOVD           R8, X27
	VPINSRD         $1, (BX), X27, X27
	VPINSRD         $2, 4(BX), X27, X27
	VPINSRD         $3, 8(BX), X27, X27
	VSHUFI32X4      $0, Z27, Z27, Z27
	VPADDD          lanes<>(SB), Z27, Z27
	RET

// rounds runs the twenty rounds on two sets if CX, the length of the text in bytes,
// is at most SHORT, else on six. Clobbers R10.
TEXT rounds<>(SB), NOSPLIT, $0-0
	MOVQ      $10, R10
	VMOVDQA64 Z24, Z0
	VMOVDQA64 Z25, Z1
	VMOVDQA64 Z26, Z2
	VMOVDQA64 Z27, Z3
	START(Z4, Z5, Z6, Z7, Z3)
	CMPQ      CX, $SHORT
	JLE       two
	START(Z8, Z9, Z10, Z11, Z7)
	START(Z12, Z13, Z14, Z15, Z11)
	START(Z16, Z17, Z18, Z19, Z15)
	START(Z20, Z21, Z22, Z23, Z19)

six:
	ABD6(16)
	CDB6(12)
	ABD6(8)
	CDB6(7)
	TURN6(0x39, 0x93)
	ABD6(16)
	CDB6(12)
	ABD6(8)
	CDB6(7)
	TURN6(0x93, 0x39)
	DECQ R10
	JNZ  six
	RET

two:
	ABD2(16)
	CDB2(12)
	ABD2(8)
	CDB2(7)
	TURN2(0x39, 0x93)
	ABD2(16)
	CDB2(12)
	ABD2(8)
	CDB2(7)
	TURN2(0x93, 0x39)
	DECQ R10
	JNZ  two
	RET

// func xorKeyStream(dst, src []byte, key *[32]byte, nonce *[12]byte, counter uint32, polyKey *[32]byte)
TEXT ·xorKeyStream(SB), NOSPLIT, $0-80
	MOVQ dst_base+0(FP), DI
	MOVQ src_base+24(FP), SI
	MOVQ src_len+32(FP), CX
	MOVQ key+48(FP), AX
	MOVQ nonce+56(FP), BX
	MOVL counter+64(FP), R8
	MOVQ polyKey+72(FP), R9
	CALL prepare<>(SB)

pass:
	CALL rounds<>(SB)
	FINISH(Z0, Z1, Z2, Z3)
	TESTQ      R9, R9
	JZ         first
	VSHUFI32X4 $0x88, Z30, Z29, Z31
	VMOVDQU32  Y31, (R9)
	XORQ       R9, R9
	JMP        second

first:
	EMIT(Z29, Z30, 0x88)

second:
	EMIT(Z29, Z30, 0xdd)
	EMIT(Z0, Z2, 0x88)
	EMIT(Z0, Z2, 0xdd)
	EMIT4(Z4, Z5, Z6, Z7)
	EMIT4(Z8, Z9, Z10, Z11)
	EMIT4(Z12, Z13, Z14, Z15)
	EMIT4(Z16, Z17, Z18, Z19)
	EMIT4(Z20, Z21, Z22, Z23)
	TESTQ CX, CX
	JNZ   pass
	JMP   done

tail:
	// Less than a block is left, maybe nothing.
	TESTQ      CX, CX
	JZ         done
	MOVQ       $-1, AX
	BZHIQ      CX, AX, AX
	KMOVQ      AX, K1
	VMOVDQU8.Z (SI), K1, Z30
	VPXORD     Z30, Z31, Z31
	VMOVDQU8   Z31, K1, (DI)

done:
	VZEROUPPER
	RET

// The frame of openPacket: room for the arguments of polyTag, the tag, and a pass
// of key stream.
#define TAG    64
#define STREAM 80

// func openPacket(dst, text []byte, key *[32]byte, nonce *[12]byte, tag *[16]byte, ad []byte) bool
TEXT ·openPacket(SB), 0, $1616-97
	MOVQ text_len+32(FP), CX
	MOVQ key+48(FP), AX
	MOVQ nonce+56(FP), BX
	XORL R8, R8
	CALL prepare<>(SB)
	CALL rounds<>(SB)
	STORE4(Z0, Z1, Z2, Z3, STREAM+0)
	STORE4(Z4, Z5, Z6, Z7, STREAM+256)
	CMPQ CX, $SHORT
	JLE  authenticate
	STORE4(Z8, Z9, Z10, Z11, STREAM+512)
	STORE4(Z12, Z13, Z14, Z15, STREAM+768)
	STORE4(Z16, Z17, Z18, Z19, STREAM+1024)
	STORE4(Z20, Z21, Z22, Z23, STREAM+1280)

authenticate:
	LEAQ TAG(SP), AX
	LEAQ STREAM(SP), BX
	MOVQ AX, 0(SP)
	MOVQ BX, 8(SP)
	MOVQ ad_base+72(FP), AX
	MOVQ ad_len+80(FP), BX
	MOVQ AX, 16(SP)
	MOVQ BX, 24(SP)
	MOVQ BX, 32(SP)
	MOVQ text_base+24(FP), AX
	MOVQ text_len+32(FP), BX
	MOVQ AX, 40(SP)
	MOVQ BX, 48(SP)
	MOVQ BX, 56(SP)
	CALL ·polyTag(SB)

	// No branch depends on which bits differ.
	MOVQ  tag+64(FP), AX
	MOVQ  TAG+0(SP), BX
	MOVQ  TAG+8(SP), CX
	XORQ  (AX), BX
	XORQ  8(AX), CX
	ORQ   CX, BX
	SETEQ ret+96(FP)
	JNE   end

	MOVQ dst_base+0(FP), DI
	MOVQ text_base+24(FP), SI
	MOVQ text_len+32(FP), CX
	LEAQ STREAM+64(SP), R8
	SUBQ $64, CX
	JLT  partial

block:
	VMOVDQU64 (R8), Z0
	VPXORQ    (SI), Z0, Z0
	VMOVDQU64 Z0, (DI)
	ADDQ      $64, R8
	ADDQ      $64, SI
	ADDQ      $64, DI
	SUBQ      $64, CX
	JGE       block

partial:
	ADDQ       $64, CX
	JZ         end
	MOVQ       $-1, AX
	BZHIQ      CX, AX, AX
	KMOVQ      AX, K1
	VMOVDQU8.Z (SI), K1, Z0
	VPXORQ     (R8), Z0, Z0
	VMOVDQU8   Z0, K1, (DI)

end:
	VZEROUPPER
	RET
