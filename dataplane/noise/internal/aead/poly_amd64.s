//go:build !purego

#include "textflag.h"
#include "poly_amd64.h"

// Poly1305 (RFC 8439 section 2.5) of what section 2.8 puts together: associated
// data and text, each padded with zeros to whole blocks of 16 bytes, and a block
// with their lengths. Every block counts as a number with its bit 128 set.
//
// Short texts and all associated data go block by block through 64-bit registers:
// h = (h + block) * r mod p, p = 2^130 - 5 (scalar, below). How numbers are
// kept and multiplied, and why nothing overflows, is in poly_amd64.h.
//
// Longer texts go eight blocks at a time, a group, one per 64-bit lane. With eight
// sums h side by side, of which lane i takes up block i of each group,
//
//	h = h * r^8 + group
//
// and at the very end each lane is multiplied by the power of r that its block is
// away from the end, r^8 .. r^1, before the lanes are added up. Since a carry takes
// longer than the multiplication before it, four groups share one:
//
//	h = h * r^32 + group1 * r^24 + group2 * r^16 + group3 * r^8 + group4
//
// Groups are aligned to the end: the last one ends with the block of lengths, and
// the first one may be short, with zeros in front, which change nothing: a lane
// that holds zero and no bit 128 leaves the sum as it is.
//
// Lanes. Two registers of four blocks are pulled apart into low and high halves of
// the blocks by VPUNPCKLQDQ and VPUNPCKHQDQ, which leaves the blocks in the order
// 0 4 1 5 2 6 3 7. The masks and the powers of the end follow that order.
//
//	Z0..Z2    h
//	Z3..Z5    limbs of a group, or a product on its way
//	Z6..Z8    sums of low halves
//	Z9..Z11   sums of high halves
//	Z12       2^44 - 1
//	Z13       2^40: bit 128, in limb 2
//	Z14       scratch of CARRY
//	Z15       20
//	Z16..Z18  r^8 r^4 r^7 r^3 r^6 r^2 r^5 r^1, limb by limb
//	Z19..Z22  scratch
//	R8..R10   h or a power of r
//	R13       how many groups are to come
//	SP        the table of powers: r0 r1 r2 s1 s2 of each

// The qwords of Z20 counted as those after Z19. Less 2*CX and modulo 16 that says
// from where in a pair of registers each comes when they move up by CX blocks;
// modulo 8, the same of the qwords of Z19.
DATA eightUp<>+0(SB)/8, $8
DATA eightUp<>+8(SB)/8, $9
DATA eightUp<>+16(SB)/8, $10
DATA eightUp<>+24(SB)/8, $11
DATA eightUp<>+32(SB)/8, $12
DATA eightUp<>+40(SB)/8, $13
DATA eightUp<>+48(SB)/8, $14
DATA eightUp<>+56(SB)/8, $15
GLOBL eightUp<>(SB), RODATA|NOPTR, $64

#define POW2  0
#define POW4  40
#define POW8  80
#define POW16 120
#define POW24 160
#define POW32 200

// Texts shorter than this many bytes go through scalar: the powers would take
// longer than they save. It must be 128 or more: eight blocks are loaded at once.
#define VECTOR_MIN 160

// scalar takes up the R15 bytes at SI, padded to whole blocks. Clobbers AX, BX, CX,
// DX, DI, R14, K1, X0; moves SI.
TEXT scalar<>(SB), NOSPLIT, $0-0
	SUBQ $16, R15
	JLT  partial

block:
	ADDQ (SI), R8
	ADCQ 8(SI), R9
	ADCQ $1, R10
	ADDQ $16, SI
	SCALAR_MULTIPLY
	SUBQ $16, R15
	JGE  block

partial:
	ADDQ       $16, R15
	JZ         end
	MOVQ       $-1, AX
	BZHIQ      R15, AX, AX
	KMOVQ      AX, K1
	VMOVDQU8.Z (SI), K1, X0
	VMOVQ      X0, AX
	VPEXTRQ    $1, X0, BX
	ADDQ       AX, R8
	ADCQ       BX, R9
	ADCQ       $1, R10
	SCALAR_MULTIPLY

end:
	RET

// Write the power in R8, R9, R10 to its place in the table.
#define KEEP(power) \
	MOVQ   R8, power+0(SP); \
	MOVQ   R9, power+8(SP); \
	MOVQ   R10, power+16(SP); \
	IMUL3Q $20, R9, AX; \
	IMUL3Q $20, R10, BX; \
	MOVQ   AX, power+24(SP); \
	MOVQ   BX, power+32(SP)

// Add x * a power of the table, the same in all lanes, to the six sums.
#define TIMES(x0, x1, x2, power) \
	PRODUCT(VPMADD52LUQ.BCST, VPMADD52HUQ.BCST, x0, x1, x2, power+0(SP), power+8(SP), power+16(SP), power+24(SP), power+32(SP))

// Pull the blocks of Z19 (0..3) and Z20 (4..7) apart into limbs, bit 128 left out.
#define SPLIT(x0, x1, x2) \
	VPUNPCKLQDQ Z20, Z19, Z21; \
	VPUNPCKHQDQ Z20, Z19, Z22; \
	VPANDQ      Z12, Z21, x0; \
	VPSHRDQ     $44, Z22, Z21, x1; \
	VPANDQ      Z12, x1, x1; \
	VPSRLQ      $24, Z22, x2

// The limbs of the group at offset(SI), to Z3, Z4, Z5.
#define GROUP(offset) \
	VMOVDQU64 offset+0(SI), Z19; \
	VMOVDQU64 offset+64(SI), Z20; \
	SPLIT(Z3, Z4, Z5); \
	VPORQ     Z13, Z5, Z5

#define ADD_GROUP \
	VPADDQ Z3, Z0, Z0; \
	VPADDQ Z4, Z1, Z1; \
	VPADDQ Z5, Z2, Z2

// Add up the eight lanes of a limb.
#define ADD_LANES(Z, Y, X, sum) \
	VEXTRACTI64X4 $1, Z, Y9; \
	VPADDQ        Y9, Y, Y; \
	VEXTRACTI128  $1, Y, X9; \
	VPADDQ        X9, X, X; \
	VPSRLDQ       $8, X, X9; \
	VPADDQ        X9, X, X; \
	VMOVQ         X, sum

// func polyTag(tag *[16]byte, key *[32]byte, ad, text []byte)
TEXT ·polyTag(SB), NOSPLIT, $240-64
	MOVQ key+8(FP), AX
	MOVQ (AX), R11
	MOVQ 8(AX), R12
	MOVQ $0x0ffffffc0fffffff, BX
	ANDQ BX, R11
	MOVQ $0x0ffffffc0ffffffc, BX
	ANDQ BX, R12
	MOVQ R12, R13
	SHRQ $2, R13
	ADDQ R12, R13
	XORL R8, R8
	XORL R9, R9
	XORL R10, R10
	MOVQ ad_base+16(FP), SI
	MOVQ ad_len+24(FP), R15
	CALL scalar<>(SB)

	MOVQ text_base+40(FP), SI
	MOVQ text_len+48(FP), R15
	CMPQ R15, $VECTOR_MIN
	JGE  vector
	CALL scalar<>(SB)
	ADDQ ad_len+24(FP), R8
	ADCQ text_len+48(FP), R9
	ADCQ $1, R10
	SCALAR_MULTIPLY
	JMP  finish

vector:
	MOVQ         $0xfffffffffff, AX
	VPBROADCASTQ AX, Z12
	MOVQ         $0x10000000000, BX
	VPBROADCASTQ BX, Z13
	MOVL         $20, BX
	VPBROADCASTQ BX, Z15

	// h of the associated data, as limbs: R8, DX, R10.
	MOVQ R8, DX
	MOVQ R9, BX
	SHRQ $44, DX
	SHLQ $20, BX
	ORQ  BX, DX
	ANDQ AX, R8
	ANDQ AX, DX
	SHRQ $24, R9
	SHLQ $40, R10
	ORQ  R9, R10

	// The n blocks of the text make n/8 groups that end with the lengths, and one
	// before them of the n%8 + 1 blocks that are left, the upper lanes of Z19, Z20;
	// CX lanes of it are empty. R13 counts the groups to come.
	ADDQ $15, R15
	SHRQ $4, R15
	MOVQ R15, R13
	SHRQ $3, R13
	ANDL $7, R15
	MOVL $7, CX
	SUBQ R15, CX

	// Of the qwords of the group: two for each block. K1 and K2 are those of Z19 and
	// Z20, K3 the lanes after SPLIT, K4 the lane of the first block, which takes h.
	LEAQ  (CX)(CX*1), DI
	MOVL  $0xffff, AX
	SHLXL DI, AX, AX
	MOVL  AX, BX
	SHRL  $8, BX
	KMOVB AX, K1
	KMOVB BX, K2
	ANDL  $0x55, AX
	ANDL  $0xaa, BX
	ORL   BX, AX
	KMOVB AX, K3
	MOVL  CX, BX
	SHRL  $2, BX
	MOVL  DI, AX
	ANDL  $7, AX
	ORL   AX, BX
	MOVL  $1, AX
	SHLXL BX, AX, AX
	KMOVB AX, K4

	// Move what begins at SI up by CX lanes. Loading from as much before SI under a
	// mask would do the same, but a processor takes a microsecond over a masked load
	// that reaches into a page that is not there.
	VPBROADCASTQ   DI, Z5
	VMOVDQU64      eightUp<>(SB), Z20
	VPSUBQ         Z5, Z20, Z20
	VMOVDQU64      (SI), Z3
	VMOVDQU64      64(SI), Z4
	VPERMQ.Z       Z3, Z20, K1, Z19
	VPERMI2Q.Z     Z4, Z3, K2, Z20
	SHLQ           $4, CX
	SUBQ           CX, SI
	ADDQ           $128, SI
	SPLIT(Z0, Z1, Z2)
	VPADDQ         Z13, Z2, K3, Z2
	VPBROADCASTQ.Z R8, K4, Z3
	VPBROADCASTQ.Z DX, K4, Z4
	VPBROADCASTQ.Z R10, K4, Z5
	ADD_GROUP

	// Powers of r by squaring, in scalar registers, where that is quickest; on the
	// way lanes of r^2 and r^1 for the end.
	MOVQ         $0xfffffffffff, R15
	MOVQ         R11, R8
	MOVQ         R11, R9
	MOVQ         R12, R10
	SHRQ         $44, R9
	SHLQ         $20, R12
	ORQ          R12, R9
	ANDQ         R15, R8
	ANDQ         R15, R9
	SHRQ         $24, R10
	VPBROADCASTQ R8, Z16
	VPBROADCASTQ R9, Z17
	VPBROADCASTQ R10, Z18
	SQUARE
	KEEP(POW2)
	MOVL         $0x33, AX
	KMOVB        AX, K1
	VPBROADCASTQ R8, K1, Z16
	VPBROADCASTQ R9, K1, Z17
	VPBROADCASTQ R10, K1, Z18
	SQUARE
	KEEP(POW4)
	SQUARE
	KEEP(POW8)

	// Lanes of r^4 .. r^1, then of r^8 .. r^1, in the order of SPLIT.
	CLEAR
	TIMES(Z16, Z17, Z18, POW2)
	CARRY(Z3, Z4, Z5)
	MOVL      $0x0f, AX
	KMOVB     AX, K1
	VMOVDQA64 Z3, K1, Z16
	VMOVDQA64 Z4, K1, Z17
	VMOVDQA64 Z5, K1, Z18
	CLEAR
	TIMES(Z16, Z17, Z18, POW4)
	CARRY(Z3, Z4, Z5)
	MOVL      $0x55, AX
	KMOVB     AX, K1
	VMOVDQA64 Z3, K1, Z16
	VMOVDQA64 Z4, K1, Z17
	VMOVDQA64 Z5, K1, Z18

	// Take one group if the number to come is odd, two if that leaves an odd pair,
	// then always four, until the last group is to be added.
	TESTQ $1, R13
	JZ    even
	CLEAR
	TIMES(Z0, Z1, Z2, POW8)
	CARRY(Z0, Z1, Z2)
	SUBQ  $1, R13
	JZ    last
	GROUP(0)
	ADD_GROUP
	ADDQ  $128, SI

even:
	SQUARE
	KEEP(POW16)
	TESTQ $2, R13
	JZ    fours
	GROUP(0)
	CLEAR
	TIMES(Z3, Z4, Z5, POW8)
	TIMES(Z0, Z1, Z2, POW16)
	CARRY(Z0, Z1, Z2)
	ADDQ  $128, SI
	SUBQ  $2, R13
	JZ    last
	GROUP(0)
	ADD_GROUP
	ADDQ  $128, SI

fours:
	VPBROADCASTQ R8, Z3
	VPBROADCASTQ R9, Z4
	VPBROADCASTQ R10, Z5
	CLEAR
	TIMES(Z3, Z4, Z5, POW8)
	CARRY(Z3, Z4, Z5)
	VPXORQ       Z19, Z19, Z19
	VPXORQ       Z20, Z20, Z20
	VPMADD52LUQ  Z15, Z4, Z19
	VPMADD52LUQ  Z15, Z5, Z20
	VMOVQ        X3, POW24+0(SP)
	VMOVQ        X4, POW24+8(SP)
	VMOVQ        X5, POW24+16(SP)
	VMOVQ        X19, POW24+24(SP)
	VMOVQ        X20, POW24+32(SP)
	SQUARE
	KEEP(POW32)

four:
	CLEAR
	GROUP(0)
	TIMES(Z3, Z4, Z5, POW24)
	GROUP(128)
	TIMES(Z3, Z4, Z5, POW16)
	GROUP(256)
	TIMES(Z3, Z4, Z5, POW8)
	TIMES(Z0, Z1, Z2, POW32)
	CARRY(Z0, Z1, Z2)
	ADDQ $384, SI
	SUBQ $4, R13
	JZ   last
	GROUP(0)
	ADD_GROUP
	ADDQ $128, SI
	JMP  four

last:
	// Seven blocks, of which the last may be partial, and the lengths.
	MOVQ         text_base+40(FP), CX
	ADDQ         text_len+48(FP), CX
	SUBQ         SI, CX
	SUBQ         $64, CX
	MOVQ         $-1, AX
	BZHIQ        CX, AX, AX
	KMOVQ        AX, K1
	VMOVDQU64    (SI), Z19
	VMOVDQU8.Z   64(SI), K1, Z20
	VMOVQ        ad_len+24(FP), X3
	VPINSRQ      $1, text_len+48(FP), X3, X3
	VINSERTI32X4 $3, X3, Z20, Z20
	SPLIT(Z3, Z4, Z5)
	VPORQ        Z13, Z5, Z5
	ADD_GROUP

	// Each lane by its power, then all into one.
	VPXORQ      Z19, Z19, Z19
	VPXORQ      Z20, Z20, Z20
	VPMADD52LUQ Z15, Z17, Z19
	VPMADD52LUQ Z15, Z18, Z20
	CLEAR
	PRODUCT(VPMADD52LUQ, VPMADD52HUQ, Z0, Z1, Z2, Z16, Z17, Z18, Z19, Z20)
	CARRY(Z0, Z1, Z2)
	ADD_LANES(Z0, Y0, X0, R8)
	ADD_LANES(Z1, Y1, X1, R9)
	ADD_LANES(Z2, Y2, X2, R10)

	// From limbs (< 2^48) to h as finish wants it: R10 at most 4.
	MOVQ R9, AX
	MOVQ R10, BX
	SHLQ $44, AX
	SHRQ $20, R9
	SHLQ $24, BX
	SHRQ $40, R10
	ADDQ AX, R8
	ADCQ BX, R9
	ADCQ $0, R10
	MOVQ R10, AX
	ANDL $3, R10
	SHRQ $2, AX
	LEAQ (AX)(AX*4), AX
	ADDQ AX, R8
	ADCQ $0, R9
	ADCQ $0, R10

finish:
	// h < 2p: h - p = h + 5 - 2^130 takes its place unless that is negative.
	MOVQ    R8, AX
	MOVQ    R9, BX
	MOVQ    R10, CX
	ADDQ    $5, AX
	ADCQ    $0, BX
	ADCQ    $0, CX
	SHRQ    $2, CX
	CMOVQNE AX, R8
	CMOVQNE BX, R9
	MOVQ    key+8(FP), AX
	ADDQ    16(AX), R8
	ADCQ    24(AX), R9
	MOVQ    tag+0(FP), DI
	MOVQ    R8, (DI)
	MOVQ    R9, 8(DI)
	VZEROUPPER
	RET
