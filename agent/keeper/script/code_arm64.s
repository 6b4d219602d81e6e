#include "textflag.h"

// The program of a script; see the package comment. It runs as a process of its own and
// never inside this one: nothing of Go is there.
//
//	R19 the present call   R20 the child, once there is one
//	R21 errno to remember  R22 flags of the present call
TEXT ·program(SB), NOSPLIT|NOFRAME, $0
	SUB	$128, RSP, RSP
	MOVD	$0x400000, R19
	MOVD	0x7f8(R19), R19
	MOVD	ZR, R20
	MOVD	ZR, R21

call:
	MOVD	0(R19), R8
	CMP	$0xf01, R8
	BEQ	first
	CMP	$0xf02, R8
	BEQ	fail
	MOVD	8(R19), R0
	MOVD	16(R19), R1
	MOVD	24(R19), R2
	MOVD	32(R19), R3
	MOVD	40(R19), R4
	MOVD	48(R19), R5
	SVC
	MOVD	56(R19), R22
	CMN	$4095, R0
	BCS	error
	TBZ	$1, R22, next
	MOVD	R0, R20
	CBNZ	R0, next

jump:
	MOVD	72(R19), R19
	B	call

next:
	ADD	$80, R19, R19
	B	call

error:
	NEG	R0, R0
	TBZ	$2, R22, forgive
	CMP	$13, R0 // EACCES
	BNE	forgive
	MOVD	R0, R21

forgive:
	TBNZ	$0, R22, next
	MOVD	64(R19), R2

one:
	AND	$0xffff, R2, R3
	CBZ	R3, report
	CMP	R0, R3
	BEQ	forgiven
	LSR	$16, R2, R2
	B	one

forgiven:
	TBNZ	$3, R22, jump
	B	next

fail:
	MOVD	R21, R0
	CBNZ	R0, report
	MOVD	8(R19), R0

report:
	MOVD	R19, 0(RSP)
	MOVD	R0, 8(RSP)
	MOVD	$64, R8 // write
	MOVD	$3, R0
	MOVD	RSP, R1
	MOVD	$16, R2
	SVC
	MOVD	$1, R0
	B	exit

first:
	MOVD	$137, R8 // rt_sigtimedwait
	MOVD	16(R19), R0
	MOVD	ZR, R1
	MOVD	ZR, R2
	MOVD	$8, R3
	SVC
	CMP	$0, R0
	BLE	first
	CMP	$17, R0 // SIGCHLD
	BEQ	reap
	MOVD	R0, R1
	MOVD	R20, R0
	MOVD	$129, R8 // kill
	SVC
	B	first

reap:
	MOVD	$260, R8 // wait4
	MOVD	$-1, R0
	MOVD	RSP, R1
	MOVD	$1, R2 // WNOHANG
	MOVD	ZR, R3
	SVC
	CBZ	R0, first
	CMN	$4, R0 // EINTR
	BEQ	reap
	CMN	$4095, R0
	BCC	reaped
	MOVD	$1, R0
	B	exit

reaped:
	CMP	R20, R0
	BNE	reap
	MOVD	$68, R8 // pwrite64
	MOVD	8(R19), R0
	MOVD	RSP, R1
	MOVD	$4, R2
	MOVD	ZR, R3
	SVC
	MOVWU	0(RSP), R1
	LSR	$8, R1, R0
	AND	$255, R0, R0
	AND	$127, R1, R1
	CBZ	R1, exit
	ADD	$128, R1, R0

exit:
	MOVD	$94, R8 // exit_group
	SVC
	B	exit
	WORD	$0x414f5453
	WORD	$0x444e452e
	RET

// func codeStart() unsafe.Pointer
TEXT ·codeStart(SB), NOSPLIT, $0-8
	MOVD	$·program(SB), R0
	MOVD	R0, ret+0(FP)
	RET
