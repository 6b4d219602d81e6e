#include "textflag.h"

// The program of a script; see the package comment. It runs as a process of its own and
// never inside this one: nothing of Go is there.
//
//	R12 the present call   R13 the child, once there is one
//	R14 errno to remember  BX  flags of the present call
TEXT ·program(SB), NOSPLIT|NOFRAME, $0
	SUBQ	$128, SP
	MOVQ	$0x400000, R12
	MOVQ	0x7f8(R12), R12
	XORL	R13, R13
	XORL	R14, R14

call:
	MOVQ	0(R12), AX
	CMPQ	AX, $0xf01
	JEQ	first
	CMPQ	AX, $0xf02
	JEQ	fail
	MOVQ	8(R12), DI
	MOVQ	16(R12), SI
	MOVQ	24(R12), DX
	MOVQ	32(R12), R10
	MOVQ	40(R12), R8
	MOVQ	48(R12), R9
	SYSCALL
	MOVQ	56(R12), BX
	CMPQ	AX, $-4095
	JCC	error
	TESTQ	$2, BX
	JEQ	next
	MOVQ	AX, R13
	TESTQ	AX, AX
	JNE	next

jump:
	MOVQ	72(R12), R12
	JMP	call

next:
	ADDQ	$80, R12
	JMP	call

error:
	NEGQ	AX
	TESTQ	$4, BX
	JEQ	forgive
	CMPQ	AX, $13 // EACCES
	JNE	forgive
	MOVQ	AX, R14

forgive:
	TESTQ	$1, BX
	JNE	next
	MOVQ	64(R12), CX

one:
	MOVWLZX	CX, DX
	TESTQ	DX, DX
	JEQ	report
	CMPQ	DX, AX
	JEQ	forgiven
	SHRQ	$16, CX
	JMP	one

forgiven:
	TESTQ	$8, BX
	JNE	jump
	JMP	next

fail:
	MOVQ	R14, AX
	TESTQ	AX, AX
	JNE	report
	MOVQ	8(R12), AX

report:
	MOVQ	R12, 0(SP)
	MOVQ	AX, 8(SP)
	MOVQ	$1, AX // write
	MOVQ	$3, DI
	MOVQ	SP, SI
	MOVQ	$16, DX
	SYSCALL
	MOVQ	$1, DI
	JMP	exit

first:
	MOVQ	$128, AX // rt_sigtimedwait
	MOVQ	16(R12), DI
	XORL	SI, SI
	XORL	DX, DX
	MOVQ	$8, R10
	SYSCALL
	TESTQ	AX, AX
	JLE	first
	CMPQ	AX, $17 // SIGCHLD
	JEQ	reap
	MOVQ	AX, SI
	MOVQ	R13, DI
	MOVQ	$62, AX // kill
	SYSCALL
	JMP	first

reap:
	MOVQ	$61, AX // wait4
	MOVQ	$-1, DI
	MOVQ	SP, SI
	MOVQ	$1, DX // WNOHANG
	XORL	R10, R10
	SYSCALL
	TESTQ	AX, AX
	JEQ	first
	CMPQ	AX, $-4 // EINTR
	JEQ	reap
	MOVQ	$1, DI
	CMPQ	AX, $-4095
	JCC	exit
	CMPQ	AX, R13
	JNE	reap
	MOVQ	$18, AX // pwrite64
	MOVQ	8(R12), DI
	MOVQ	SP, SI
	MOVQ	$4, DX
	XORL	R10, R10
	SYSCALL
	MOVL	0(SP), AX
	MOVL	AX, DI
	SHRL	$8, DI
	ANDL	$255, DI
	ANDL	$127, AX
	JEQ	exit
	LEAL	128(AX), DI

exit:
	MOVQ	$231, AX // exit_group
	SYSCALL
	JMP	exit
	BYTE	$0x53; BYTE	$0x54; BYTE	$0x4f; BYTE	$0x41
	BYTE	$0x2e; BYTE	$0x45; BYTE	$0x4e; BYTE	$0x44
	RET

// func codeStart() unsafe.Pointer
TEXT ·codeStart(SB), NOSPLIT, $0-8
	LEAQ	·program(SB), AX
	MOVQ	AX, ret+0(FP)
	RET
