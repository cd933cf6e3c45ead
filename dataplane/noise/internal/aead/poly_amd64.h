// Arithmetic modulo p = 2^130 - 5 for poly_amd64.s: one number in 64-bit registers,
// or eight side by side in vectors of 64-bit lanes.
//
// Limbs. A number is x0 + x1*2^44 + x2*2^88. VPMADD52LUQ and VPMADD52HUQ add the
// low and the high 52 bits of a product of two 52-bit numbers. Products at 2^132
// and above come back down times 20, as 2^132 = 4 * 2^130 = 4 * 5 mod p, hence the
// multiples s1 = 20*r1 and s2 = 20*r2:
//
//	d0 = x0*r0 + x1*s2 + x2*s1
//	d1 = x0*r1 + x1*r0 + x2*s2
//	d2 = x0*r2 + x1*r1 + x2*r0
//
// Sums of the low halves weigh 2^0, 2^44, 2^88, those of the high halves 2^52 more,
// which is 2^8 times the next limb.
//
// Why nothing overflows, with u = 2^44 and e = 2^12, where limbs of h and of powers
// are the result of CARRY or SQUARE, so each is < u + e:
//   - Blocks have x0, x1 < u and x2 < u/8. The h that CARRY left, with a group (or,
//     in the first group, with what the associated data left) added, has x0, x1 <
//     2u + e and x2 < 9/8 u + e. All are below 2^52 = 256u, as are s1, s2 < 21u.
//   - A sum of low halves has at most 12 terms < 2^52 (four products of three): it
//     is < 3072u.
//   - High halves, in units of u^2 / 2^52 = u/256: sum 2 is at most 3*(1 + 1 + 1/8)
//     for three groups and 2 + 2 + 9/8 for h: < 11.6. Sum 0 is at most 3*(1 + 20 +
//     20/8) + (2 + 40 + 22.5) = 135, sum 1 at most 3*(1 + 1 + 20/8) + (2 + 2 + 22.5)
//     = 40. Times 2^8: below 11.6u, 135u and 40u.
//   - CARRY therefore takes at most (3072u + 135u) / u = 3207 from limb to limb,
//     which is below e, and from the top 11.6u + e, times 20 is 232u + 20e < 256u:
//     VPMADD52LUQ loses nothing of it, and limb 0, then < 233u + 20e, hands at most
//     233 on to limb 1, which ends below u + 3072 + 234 < u + e.
// There is no room for a fifth group before the carry.
//
// Registers: Z6..Z8 are the sums of low halves, Z9..Z11 those of high halves; Z12 is
// 2^44 - 1, Z14 scratch, Z15 is 20.

// h = h * r mod p, where p need not be taken off to the last. In and out R8 (low),
// R9, R10 (bits 128 and up, at most 6 in, at most 4 out). r is R11 (low), R12; R13
// is r1 * 5/4 (r1 is a multiple of 4): a product with r1 at 2^128 comes down as
// that, since 2^130 = 5. The clamped r < 2^124 leaves room for all sums.
#define SCALAR_MULTIPLY \
	MOVQ  R11, DX; \
	MULXQ R8, AX, BX; \
	MULXQ R9, CX, DI; \
	IMULQ R10, DX; \
	MOVQ  DX, R14; \
	MOVQ  R12, DX; \
	MULXQ R8, R8, DX; \
	ADDQ  R8, CX; \
	ADCQ  DX, DI; \
	MOVQ  R13, DX; \
	MULXQ R9, R8, R9; \
	IMULQ R10, DX; \
	ADDQ  AX, R8; \
	ADCQ  BX, R9; \
	ADDQ  DX, CX; \
	ADCQ  $0, DI; \
	ADDQ  CX, R9; \
	ADCQ  DI, R14; \
	MOVQ  R14, AX; \
	MOVL  $3, R10; \
	ANDQ  R14, R10; \
	SHRQ  $2, AX; \
	LEAQ  (AX)(AX*4), AX; \
	ADDQ  AX, R8; \
	ADCQ  $0, R9; \
	ADCQ  $0, R10

// Square R8, R9, R10 (limbs of 44 bits, each < u + e). Sums of products are below
// 42 * 2^88 and exact; the first carry leaves limbs < 2^50, the second < u + e.
// Clobbers AX, BX, CX, DX, DI, R11, R12, R14; R15 holds 2^44 - 1.
#define SQUARE \
	IMUL3Q $20, R10, R11; \
	LEAQ   (R8)(R8*1), R12; \
	MOVQ   R8, DX; \
	MULXQ  R8, AX, BX; \
	LEAQ   (R11)(R11*1), DX; \
	MULXQ  R9, CX, R14; \
	ADDQ   CX, AX; \
	ADCQ   R14, BX; \
	MOVQ   R12, DX; \
	MULXQ  R9, CX, R14; \
	MULXQ  R10, R12, DI; \
	MOVQ   R11, DX; \
	MULXQ  R10, R11, DX; \
	ADDQ   R11, CX; \
	ADCQ   DX, R14; \
	MOVQ   R9, DX; \
	MULXQ  R9, R11, DX; \
	ADDQ   R11, R12; \
	ADCQ   DX, DI; \
	MOVQ   AX, R8; \
	MOVQ   CX, R9; \
	MOVQ   R12, R10; \
	ANDQ   R15, R8; \
	ANDQ   R15, R9; \
	ANDQ   R15, R10; \
	SHRQ   $44, AX; \
	SHLQ   $20, BX; \
	SHRQ   $44, CX; \
	SHLQ   $20, R14; \
	SHRQ   $44, R12; \
	SHLQ   $20, DI; \
	ORQ    BX, AX; \
	ORQ    R14, CX; \
	ORQ    DI, R12; \
	IMUL3Q $20, R12, R12; \
	ADDQ   AX, R9; \
	ADDQ   CX, R10; \
	ADDQ   R12, R8; \
	MOVQ   R8, AX; \
	MOVQ   R9, CX; \
	MOVQ   R10, R12; \
	ANDQ   R15, R8; \
	ANDQ   R15, R9; \
	ANDQ   R15, R10; \
	SHRQ   $44, AX; \
	SHRQ   $44, CX; \
	SHRQ   $44, R12; \
	IMUL3Q $20, R12, R12; \
	ADDQ   AX, R9; \
	ADDQ   CX, R10; \
	ADDQ   R12, R8

// Set the six sums to zero.
#define CLEAR \
	VPXORQ Z6, Z6, Z6; \
	VPXORQ Z7, Z7, Z7; \
	VPXORQ Z8, Z8, Z8; \
	VPXORQ Z9, Z9, Z9; \
	VPXORQ Z10, Z10, Z10; \
	VPXORQ Z11, Z11, Z11

// Add x * r to the six sums. LO and HI are the two instructions, of one kind: with
// registers as r0 .. s2, or with numbers in memory that serve all lanes (.BCST).
#define PRODUCT(LO, HI, x0, x1, x2, r0, r1, r2, s1, s2) \
	LO r0, x0, Z6; \
	HI r0, x0, Z9; \
	LO r1, x0, Z7; \
	HI r1, x0, Z10; \
	LO r2, x0, Z8; \
	HI r2, x0, Z11; \
	LO s2, x1, Z6; \
	HI s2, x1, Z9; \
	LO r0, x1, Z7; \
	HI r0, x1, Z10; \
	LO r1, x1, Z8; \
	HI r1, x1, Z11; \
	LO s1, x2, Z6; \
	HI s1, x2, Z9; \
	LO s2, x2, Z7; \
	HI s2, x2, Z10; \
	LO r0, x2, Z8; \
	HI r0, x2, Z11

// Bring the six sums back to three limbs.
#define CARRY(h0, h1, h2) \
	VPSLLQ      $8, Z9, Z9; \
	VPSLLQ      $8, Z10, Z10; \
	VPSLLQ      $8, Z11, Z11; \
	VPADDQ      Z9, Z7, Z7; \
	VPADDQ      Z10, Z8, Z8; \
	VPSRLQ      $44, Z6, Z9; \
	VPSRLQ      $44, Z7, Z10; \
	VPSRLQ      $44, Z8, Z14; \
	VPADDQ      Z11, Z14, Z14; \
	VPANDQ      Z12, Z6, h0; \
	VPANDQ      Z12, Z7, h1; \
	VPANDQ      Z12, Z8, h2; \
	VPADDQ      Z9, h1, h1; \
	VPADDQ      Z10, h2, h2; \
	VPMADD52LUQ Z15, Z14, h0; \
	VPSRLQ      $44, h0, Z9; \
	VPANDQ      Z12, h0, h0; \
	VPADDQ      Z9, h1, h1
