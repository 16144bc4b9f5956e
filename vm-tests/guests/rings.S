# Changes of privilege in 64-bit mode: INT and IRET, SYSCALL and SYSRET, SYSENTER and SYSEXIT, call gates, far
# returns, compatibility mode.
.include "prelude.S"

.equ GATE, FREE_SEL             # a 64-bit call gate, two entries
.equ CONFORMING, FREE_SEL + 16

.macro WRMSR_ number, value
        mov     ecx, \number
        mov     eax, offset \value
        xor     edx, edx
        wrmsr
.endm

main:
        # INT from ring 3: stack of the TSS, SS null, the old stack in the frame.
        USER    "INT", u_int, 0x80, 0, u_int_end
        CHECK   "CS", [ex_cs], UCODE
        CHECK   "SS", [ex_ss], UDATA
        CHECK   "RSP", [ex_rsp], USER_STACK-8
        mov     rax, [ex_frame]
        add     rax, 22*8
        mov     ecx, offset stack_ring0_top
        CHECK   "the stack of the TSS", rax, rcx
        HOOK    0x80, show_ss
        HOOK    0x81, back_to_kernel
        mov     byte ptr [idt + 0x81*16 + 5], 0xee
        mov     [kernel_rsp], rsp
        mov     rdi, offset u_hook
        jmp     enter_user
u_hook_done:
        CHECK   "SS in the handler", [handler_ss], 0
        CHECK   "ring 3 went on behind INT", r12, 77
        HOOK    0x80, 0

        # IRET to ring 3 clears data segments of ring 0.
        mov     eax, KDATA
        mov     ds, eax
        mov     eax, UDATA
        mov     es, eax
        USER    "segments after IRET", u_segments, 0x80, 0, u_segments_end
        CHECK   "DS of ring 0 became null", r12, 0
        CHECK   "ES of ring 3 stayed", r13, UDATA
        mov     eax, KDATA
        mov     ds, eax
        mov     es, eax

        # SYSCALL and SYSRET.
        mov     ecx, 0xc0000080
        rdmsr
        and     al, 0xfe
        wrmsr
        USER    "SYSCALL without SCE", u_syscall_at, V_UD, 0, u_syscall_at
        mov     ecx, 0xc0000080
        rdmsr
        or      al, 1
        wrmsr
        mov     ecx, 0xc0000081
        xor     eax, eax
        mov     edx, 0x001b0008                 # SYSRET's base 18h (RPL forced), SYSCALL's 08h
        wrmsr
        WRMSR_  0xc0000082, on_syscall
        mov     ecx, 0xc0000084
        mov     eax, 0x601                      # clears IF, DF, CF
        xor     edx, edx
        wrmsr
        USER    "SYSCALL", u_syscall, 0x80, 0, u_syscall_end
        CHECK   "CS in the kernel", [seen_cs], KCODE
        CHECK   "SS in the kernel", [seen_ss], KDATA
        mov     eax, offset u_syscall_next
        CHECK   "RCX holds RIP", [seen_rcx], rax
        mov     rax, [seen_r11]
        and     eax, 0x403
        CHECK   "R11 holds RFLAGS", rax, 0x403
        mov     rax, [seen_flags]
        and     eax, 0x601
        CHECK   "flags masked", rax, 0
        mov     rax, [ex_flags]
        and     eax, 0x403
        CHECK   "SYSRET gave the flags back", rax, 0x403
        CHECK   "CS after SYSRET", [ex_cs], UCODE
        CHECK   "SS after SYSRET", [ex_ss], UDATA
        # SYSRET to 32 bits.
        mov     ecx, offset u_compat
        mov     r11d, 0x3002
        EXPECT  1f
        sysretd
1:      CHECK   "INT from compatibility mode", [ex_vec], 0x80
        CHECK   "CS of compatibility mode", [ex_cs], UCODE32
        CHECK   "32-bit code", rax, 1
        mov     rcx, 0x0000800000000000
        FAULT   "SYSRET to a non-canonical address", V_GP, 0, sysretq

        # SYSENTER and SYSEXIT.
        mov     ecx, 0x174
        xor     eax, eax
        xor     edx, edx
        wrmsr
        USER    "SYSENTER with CS 0", u_sysenter, V_GP, 0, u_sysenter
        FAULT   "SYSEXIT with CS 0", V_GP, 0, sysexitd
        mov     ecx, 0x174
        mov     eax, KCODE
        xor     edx, edx
        wrmsr
        WRMSR_  0x175, stack_ist2_top
        WRMSR_  0x176, on_sysenter
        USER    "SYSENTER", u_sysenter, 0x80, 0, u_sysenter_end
        CHECK   "CS by SYSENTER", [seen_cs], KCODE
        CHECK   "SS by SYSENTER", [seen_ss], KDATA
        mov     eax, offset stack_ist2_top
        CHECK   "RSP by SYSENTER", [seen_rsp], rax
        mov     rax, [seen_flags]
        and     eax, 0x200
        CHECK   "IF cleared by SYSENTER", rax, 0
        CHECK   "CS by SYSEXIT", [ex_cs], KCODE + 32 + 3
        CHECK   "SS by SYSEXIT", [ex_ss], KCODE + 40 + 3
        CHECK   "RSP by SYSEXIT", [ex_rsp], USER_STACK-64

        # A call gate from ring 3.
        mov     eax, offset on_gate
        mov     [gdt + GATE], ax
        mov     word ptr [gdt + GATE + 2], KCODE
        mov     word ptr [gdt + GATE + 4], 0xec00
        shr     eax, 16
        mov     [gdt + GATE + 6], ax
        mov     qword ptr [gdt + GATE + 8], 0
        USER    "call gate and far return", u_gate, 0x80, 0, u_gate_end
        CHECK   "CS in the gate's code", [seen_cs], KCODE
        CHECK   "SS in the gate's code", [seen_ss], 0
        mov     eax, offset stack_ring0_top - 32
        CHECK   "RSP in the gate's code", [seen_rsp], rax
        CHECK   "old CS on the stack", [seen_old_cs], UCODE
        CHECK   "old SS on the stack", [seen_old_ss], UDATA
        CHECK   "CS after the far return", [ex_cs], UCODE
        CHECK   "SS after the far return", [ex_ss], UDATA
        USER    "jump through the gate to ring 0", u_gate_jump, V_GP, KCODE, u_gate_jump
        and     byte ptr [gdt + GATE + 5], 0x9f # DPL 0
        USER    "gate of DPL 0", u_gate, V_GP, GATE, u_gate_call
        or      byte ptr [gdt + GATE + 5], 0x60
        and     byte ptr [gdt + GATE + 5], 0x7f
        USER    "absent gate", u_gate, V_NP, GATE, u_gate_call
        or      byte ptr [gdt + GATE + 5], 0x80
        mov     byte ptr [gdt + GATE + 13], 1   # the type of the upper half must be 0
        USER    "bad upper half of a gate", u_gate, V_GP, GATE, u_gate_call
        mov     byte ptr [gdt + GATE + 13], 0

        # Conforming code is called at the caller's level.
        mov     rax, 0x00af9f000000ffff
        mov     [gdt + CONFORMING], rax
        USER    "conforming code", u_conforming, 0x80, 0, u_page_code_end
        CHECK   "CPL in conforming code", [ex_cs], CONFORMING + 3

        # IRET's own checks.
        mov     r12, rsp
        push    KDATA
        push    r12
        pushfq
        push    0
        push    0
        FAULT   "IRET to a null CS", V_GP, 0, iretq
        mov     qword ptr [rsp + 8], KCODE
        mov     qword ptr [rsp + 32], UDATA
        FAULT   "IRET to ring 0 with SS of ring 3", V_GP, UDATA & ~3, iretq
        mov     qword ptr [rsp + 32], KDATA
        mov     rax, 0x800000000000
        mov     [rsp], rax
        FAULT   "IRET to a non-canonical address", V_GP, 0, iretq
        mov     rsp, r12
        ret

on_syscall:
        mov     [seen_rcx], rcx
        mov     [seen_r11], r11
        mov     [seen_cs], cs
        mov     [seen_ss], ss
        mov     [kernel_rsp], rsp
        mov     esp, offset stack_ist2_top
        pushfq
        pop     [seen_flags]
        mov     rsp, [kernel_rsp]
        sysretq

on_sysenter:
        mov     [seen_rsp], rsp
        mov     [seen_cs], cs
        mov     [seen_ss], ss
        pushfq
        pop     [seen_flags]
        mov     edx, offset u_sysenter_next
        mov     ecx, USER_STACK-64
        sysexitq

on_gate:
        mov     [seen_rsp], rsp
        mov     [seen_cs], cs
        mov     [seen_ss], ss
        mov     rax, [rsp + 8]
        mov     [seen_old_cs], rax
        mov     rax, [rsp + 24]
        mov     [seen_old_ss], rax
        retfq

show_ss:
        mov     [handler_ss], ss
        ret

back_to_kernel:
        mov     rsp, [kernel_rsp]
        mov     eax, KDATA
        mov     ss, eax
        jmp     u_hook_done

.bss
kernel_rsp: .skip 8
handler_ss: .skip 8
seen_rcx: .skip 8
seen_r11: .skip 8
seen_cs: .skip  8
seen_ss: .skip  8
seen_rsp: .skip 8
seen_flags: .skip 8
seen_old_cs: .skip 8
seen_old_ss: .skip 8

.section .user
u_int:  push    rax
        int     0x80
u_int_end:
u_hook: mov     r12d, 76
        int     0x80
        inc     r12
        int     0x81
u_segments:
        mov     r12d, ds
        mov     r13d, es
        int     0x80
u_segments_end:
u_syscall:
        stc
        std
u_syscall_at:
        syscall
u_syscall_next:
        int     0x80
u_syscall_end:
u_sysenter:
        sysenter
u_sysenter_next:
        int     0x80
u_sysenter_end:
u_gate: nop
u_gate_call:
        call    fword ptr [far_gate]
        int     0x80
u_gate_end:
u_gate_jump:
        jmp     fword ptr [far_gate]
u_conforming:
        push    CONFORMING + 3
        push    offset u_page_code
        retfq
u_page_code:
        int     0x80
u_page_code_end:
far_gate: .long 0
        .word   GATE + 3
.code32
u_compat:
        mov     eax, -1
        inc     eax                             # 40h to 4Fh are INC and DEC here, not REX
        .byte   0x40                            # inc eax
        int     0x80
.code64
