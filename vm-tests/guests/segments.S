# 32-bit protected mode: segment limits and types, call gates with parameters, ring 3, #BR, #OF, task switches.
.include "prelude.S"
.include "prelude32.S"

.equ SMALL, FREE_SEL            # data, 100h bytes
.equ READONLY, FREE_SEL + 8
.equ DOWN, FREE_SEL + 16        # expand-down
.equ EXECONLY, FREE_SEL + 24
.equ GATE, FREE_SEL + 32        # 32-bit call gate, 2 parameters
.equ TASK, FREE_SEL + 40        # another TSS
.equ TASKGATE, FREE_SEL + 48
.equ LDT, FREE_SEL + 56

.macro DESCRIPTOR selector, base, limit, access, flags
        mov     eax, offset \base
        mov     word ptr [gdt + \selector], (\limit) & 0xffff
        mov     [gdt + \selector + 2], ax
        shr     eax, 16
        mov     [gdt + \selector + 4], al
        mov     byte ptr [gdt + \selector + 5], \access
        mov     byte ptr [gdt + \selector + 6], (\flags) << 4 | ((\limit) >> 16)
        mov     [gdt + \selector + 7], ah
.endm

main:   call    to_32
.code32
        DESCRIPTOR SMALL, buffer, 0xff, 0x93, 4
        DESCRIPTOR READONLY, buffer, 0xff, 0x91, 4
        DESCRIPTOR DOWN, buffer, 0x7f, 0x97, 4
        DESCRIPTOR EXECONLY, pml4-pml4, 0xfffff, 0x99, 12

        # Limits.
        mov     eax, SMALL
        mov     fs, eax
        NOFAULT32 "last byte", mov al, fs:[0xff]
        FAULT32 "behind the limit", V_GP, 0, mov al, fs:[0x100]
        FAULT32 "dword over the limit", V_GP, 0, mov eax, fs:[0xfd]
        NOFAULT32 "last dword", mov eax, fs:[0xfc]
        FAULT32 "wrap at 4 GiB", V_GP, 0, mov eax, fs:[0xfffffffe]
        mov     [saved_esp], esp
        mov     ecx, SMALL
        mov     edx, KDATA32
        mov     ss, ecx
        mov     esp, 0x100
        push    ecx
        mov     ss, edx
        mov     esp, [saved_esp]
        CHECK32 "PUSH in a small stack", [buffer + 0xfc], SMALL
        # Expand-down: offsets above the limit are good.
        mov     eax, DOWN
        mov     fs, eax
        FAULT32 "expand-down, below", V_GP, 0, mov al, fs:[0x7f]
        FAULT32 "expand-down, partly below", V_GP, 0, mov eax, fs:[0x7e]
        NOFAULT32 "expand-down, above", mov al, fs:[0x80]
        NOFAULT32 "expand-down to 4 GiB", mov al, fs:[0xfff000]
        # Types.
        mov     eax, READONLY
        mov     fs, eax
        NOFAULT32 "reading a read-only segment", mov eax, fs:[0]
        FAULT32 "writing a read-only segment", V_GP, 0, mov fs:[0], eax
        mov     eax, READONLY
        FAULT32 "read-only in SS", V_GP, READONLY, mov ss, eax
        FAULT32 "writing through CS", V_GP, 0, mov cs:[buffer], eax
        NOFAULT32 "reading through CS", mov eax, cs:[buffer]
        mov     eax, EXECONLY
        FAULT32 "execute-only in DS", V_GP, EXECONLY, mov ds, eax
        xor     eax, eax
        mov     gs, eax
        FAULT32 "null selector used", V_GP, 0, mov eax, gs:[0]
        xor     eax, eax
        FAULT32 "null in SS", V_GP, 0, mov ss, eax
        # LAR, LSL, VERR, VERW.
        mov     eax, SMALL
        lsl     ecx, eax
        CHECK32 "LSL", ecx, 0xff
        lar     ecx, eax
        CHECK32 "LAR", ecx, 0x409300
        mov     eax, READONLY
        verw    ax
        setz    cl
        verr    ax
        setz    ch
        movzx   ecx, cx
        CHECK32 "VERR and VERW", ecx, 0x100
        # LDT.
        DESCRIPTOR LDT, ldt, 15, 0x82, 0
        mov     eax, LDT
        lldt    ax
        mov     eax, 0x0c
        mov     fs, eax
        CHECK32 "a segment of the LDT", fs:[buffer + 0xfc], SMALL
        mov     eax, 0x14
        FAULT32 "behind the LDT", V_GP, 0x14, mov fs, eax
        xor     eax, eax
        lldt    ax
        mov     eax, KDATA32
        mov     fs, eax

        # INTO, BOUND, AAM.
        mov     al, 0x7f
        inc     al
        TRAP32  "INTO", V_OF, 0, into
        xor     eax, eax
        NOFAULT32 "INTO without OF", into
        mov     eax, 11
        FAULT32 "BOUND, above", V_BR, 0, bound eax, [bounds]
        mov     eax, 10
        NOFAULT32 "BOUND, within", bound eax, [bounds]
        FAULT32 "AAM by 0", V_DE, 0, .byte 0xd4, 0
        FAULT32 "SYSCALL outside 64-bit mode", V_UD, 0, syscall

        # Ring 3 and back through an interrupt gate, then a call gate with two parameters.
        EXPECT32 1f
        push    UDATA
        push    USER_STACK
        push    0x3002
        push    UCODE32_
        push    offset u_int
        iretd
1:      WANT32  "INT 80h from ring 3", 0x80, 0, u_int_end
        CHECK32 "CS of ring 3", [ex_cs], UCODE32_
        CHECK32 "SS of ring 3", [ex_ss], UDATA
        CHECK32 "ESP of ring 3", [ex_rsp], USER_STACK-4
        mov     eax, offset on_gate
        mov     [gdt + GATE], ax
        mov     dword ptr [gdt + GATE + 2], KCODE32 | 2 << 16
        mov     byte ptr [gdt + GATE + 5], 0xec
        shr     eax, 16
        mov     [gdt + GATE + 6], ax
        EXPECT32 1f
        push    UDATA
        push    USER_STACK
        push    0x3002
        push    UCODE32_
        push    offset u_gate
        iretd
1:      WANT32  "call gate", 0x80, 0, u_gate_end
        CHECK32 "first parameter", [param1], 0x1111
        CHECK32 "second parameter", [param2], 0x2222
        CHECK32 "ESP in the gate", [gate_esp], offset stack_ring0_top-24
        CHECK32 "parameters gone from the outer stack", [ex_rsp], USER_STACK
        EXPECT32 1f
        push    UDATA
        push    USER_STACK
        push    2                               # IOPL 0
        push    UCODE32_
        push    offset u_out
        iretd
1:      WANT32  "OUT at IOPL 0 without I/O map", V_GP, 0, u_out
        # With a map that allows the port.
        mov     dword ptr [gdt + TSS32], 0
        DESCRIPTOR TSS32, tss_io, 104 + 32, 0x89, 0
        mov     dword ptr [tss_io + 4], offset stack_ring0_top
        mov     dword ptr [tss_io + 8], KDATA32
        mov     word ptr [tss_io + 102], 104
        mov     byte ptr [tss_io + 104 + 0x84/8], 0xef
        mov     eax, TSS32
        ltr     ax
        EXPECT32 1f
        push    UDATA
        push    USER_STACK
        push    2
        push    UCODE32_
        push    offset u_out84
        iretd
1:      WANT32  "the I/O map", V_GP, 0, u_out

        # Task switches. The new task runs at ring 0 with registers of its TSS.
        DESCRIPTOR TASK, task2, 103, 0x89, 0
        mov     dword ptr [task2 + 0x1c], 0     # CR3, not used without paging
        mov     dword ptr [task2 + 0x20], offset task_main
        mov     dword ptr [task2 + 0x24], 2
        mov     dword ptr [task2 + 0x28], 0xaaaa
        mov     dword ptr [task2 + 0x2c], 0xcccc
        mov     dword ptr [task2 + 0x38], offset stack_ist1_top
        mov     dword ptr [task2 + 0x48], KDATA32
        mov     dword ptr [task2 + 0x4c], KCODE32
        mov     dword ptr [task2 + 0x50], KDATA32
        mov     dword ptr [task2 + 0x54], KDATA32
        mov     word ptr [task2 + 0x66], 104
        mov     ebx, 0xbbbb
        mov     esi, 0x5151
        call    fword ptr [far_task]
task_return:
        CHECK32 "EAX of the task", [task_eax], 0xaaaa
        CHECK32 "ECX of the task", [task_ecx], 0xcccc
        CHECK32 "NT in the task", [task_nt], 0x4000
        CHECK32 "back link", [task2], TSS32
        CHECK32 "EBX came back", ebx, 0xbbbb
        CHECK32 "ESI came back", esi, 0x5151
        CHECK32 "EIP was saved", [tss_io + 0x20], offset task_return
        movzx   eax, byte ptr [gdt + TASK + 5]
        CHECK32 "the task is not busy any more", eax, 0x89
        movzx   eax, byte ptr [gdt + TSS32 + 5]
        CHECK32 "the first task is busy", eax, 0x8b
        mov     eax, cr0
        and     eax, 8
        CHECK32 "TS set by a task switch", eax, 8
        clts
        CHECK32 "the task saved its EIP", [task2 + 0x20], offset task_again
        # Again through a task gate in the IDT, and by JMP.
        mov     dword ptr [idt32 + 0x44*8], TASK << 16
        mov     dword ptr [idt32 + 0x44*8 + 4], 0x8500
        int     0x44
int_return:
        CHECK32 "task by INT", [task_runs], 2
        jmp     fword ptr [far_task]
jmp_return:
        CHECK32 "task by JMP, and back by JMP", [task_runs], 3
        movzx   eax, byte ptr [gdt + TASK + 5]
        CHECK32 "JMP leaves the old one free", eax, 0x89
        mov     byte ptr [gdt + TASK + 5], 0x8b
        FAULT32 "jump to a busy task", V_GP, TASK, jmp fword ptr [far_task]
        mov     byte ptr [gdt + TASK + 5], 0x09
        FAULT32 "jump to an absent task", V_NP, TASK, jmp fword ptr [far_task]
        mov     byte ptr [gdt + TASK + 5], 0x89
        mov     word ptr [gdt + TASK], 102
        FAULT32 "TSS too short", V_TS, TASK, jmp fword ptr [far_task]
        # A double fault through a task gate, as kernels do it.
        mov     word ptr [gdt + TASK], 103
        mov     dword ptr [idt32 + V_DF*8], TASK << 16
        mov     dword ptr [idt32 + V_DF*8 + 4], 0x8500
        mov     dword ptr [task2 + 0x20], offset task_df
        mov     dword ptr [task2 + 0x38], offset stack_ist1_top
        mov     byte ptr [idt32 + V_GP*8 + 5], 0x0e     # absent: #NP on top of #GP
        xor     eax, eax
        mov     gs, eax
df_at:  mov     eax, gs:[0]
df_back:
        CHECK32 "error code of the double fault", [df_error], 0
        CHECK32 "EIP of the double fault", [df_eip], offset df_at
        mov     byte ptr [idt32 + V_GP*8 + 5], 0x8e
        call    to_64
.code64
        ret

.code32
task_main:
        mov     [task_eax], eax
        mov     [task_ecx], ecx
        pushfd
        pop     eax
        and     eax, 0x4000
        mov     [task_nt], eax
        inc     dword ptr [task_runs]
        iretd
task_again:
        inc     dword ptr [task_runs]
        iretd
        inc     dword ptr [task_runs]
        jmp     fword ptr [far_first]

task_df:
        pop     dword ptr [df_error]
        mov     eax, [tss_io + 0x20]
        mov     [df_eip], eax
        # Back to the interrupted task, behind what faulted.
        mov     dword ptr [tss_io + 0x20], offset df_back
        iretd

on_gate:
        mov     eax, KDATA32                    # the way to ring 3 made DS null
        mov     ds, eax
        mov     [gate_esp], esp
        mov     eax, [esp + 8]
        mov     [param2], eax
        mov     eax, [esp + 12]
        mov     [param1], eax
        retf    8

.data
far_task: .long 0
        .word   TASK
far_first: .long 0
        .word   TSS32
bounds: .long   5, 10
ldt:    .quad   0
        .word   0xffff, 0
        .byte   0, 0x93, 0xcf, 0
ldt_end:

.bss
.balign 16
buffer: .skip   256
tss_io: .skip   104 + 40
task2:  .skip   104
saved_esp: .skip 4
param1: .skip   4
param2: .skip   4
gate_esp: .skip 4
task_eax: .skip 4
task_ecx: .skip 4
task_nt: .skip  4
task_runs: .skip 4
df_error: .skip 4
df_eip: .skip 4

.section .user
.code32
u_int:  push    eax
        int     0x80
u_int_end:
u_gate: push    0x1111
        push    0x2222
        .byte   0x9a                            # call GATE:0
        .long   0
        .word   GATE + 3
        int     0x80
u_gate_end:
u_out84:
        out     0x84, al
u_out:  out     0x85, al
.code64
