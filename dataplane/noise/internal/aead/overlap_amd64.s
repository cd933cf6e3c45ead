//go:build !purego

#include "textflag.h"

// func overlap(a, b []byte) bool
TEXT ·overlap(SB), NOSPLIT, $0-49
	MOVQ  a_base+0(FP), AX
	MOVQ  a_len+8(FP), BX
	MOVQ  b_base+24(FP), CX
	MOVQ  b_len+32(FP), DX
	MOVB  $0, ret+48(FP)
	TESTQ BX, BX
	JZ    end
	TESTQ DX, DX
	JZ    end
	ADDQ  AX, BX
	ADDQ  CX, DX
	CMPQ  BX, CX
	JLS   end              // a ends before b
	CMPQ  DX, AX
	JLS   end              // b ends before a
	MOVB  $1, ret+48(FP)

end:
	RET
