# Events on top of events: faults of IRET, NMI blocking, #DB with MOV SS, TF with SYSCALL, stacks that fault, and what
# is pending at once.
.include "prelude.S"

.equ LAPIC, 0xfee00000

main:
        HOOK    2, on_nmi
        mov     ebx, LAPIC
        mov     dword ptr [rbx + 0xf0], 0x1ff

        # NMIs stay blocked until IRET; a fault within the NMI handler ends with IRET too, and unblocks them.
        mov     qword ptr [nmi_plan], 1         # the handler sends another, then INT3
        HOOK    V_BP, on_int3
        call    send_nmi
        nop
        CHECK   "NMIs", [nmi_count], 2
        CHECK   "the second one's place: behind the IRET of INT3", [nmi_at_int3], 1
        HOOK    V_BP, 0
        # Two at once while blocked count as one or two; not more, not none.
        mov     qword ptr [nmi_plan], 2
        mov     qword ptr [nmi_count], 0
        call    send_nmi
        nop
        mov     rax, [nmi_count]
        sub     rax, 2
        cmp     rax, 1
        setbe   al
        movzx   eax, al
        CHECK   "NMIs sent while blocked collapse", rax, 1
        mov     qword ptr [nmi_plan], 0

        # IRET that faults: the fault is at IRET, and its frame is still there.
        mov     rbp, rsp
        push    KDATA
        push    rbp
        pushfq
        push    0xf000                          # no such descriptor
        push    offset main
        FAULT   "IRET to a selector beyond the GDT", V_GP, 0xf000, iretq
        mov     rax, rbp
        sub     rax, rsp
        CHECK   "RSP as before IRET", rax, 40
        mov     rsp, rbp
        # IRET with the stack in an absent page.
        mov     [saved_rsp], rsp
        mov     esp, 0x40000000
        mov     word ptr [idt + V_PF*16 + 4], 0x8e01   # IST 1 for #PF
        mov     qword ptr [ex_count], 0
        mov     rax, [saved_rsp]
        mov     [resume_rsp], rax
        mov     qword ptr [resume_flags], 2
        mov     qword ptr [resume_rip], offset iret_absent_end
iret_absent:
        iretq
iret_absent_end:
        mov     word ptr [idt + V_PF*16 + 4], 0x8e00
        CHECK   "IRET from an absent stack", [ex_vec], V_PF
        CHECK   "its RIP", [ex_rip], offset iret_absent
        CHECK   "its RSP", [ex_rsp], 0x40000000
        CHECK   "its CR2", [ex_cr2], 0x40000000

        # POPF and IRET at ring 0 and 3: IOPL and IF.
        USER    "POPF in ring 3 with IOPL 3", u_popf, 0x80, 0, u_popf_end
        mov     rax, [ex_flags]
        and     eax, 0x3200
        CHECK   "IF changes, IOPL stays", rax, 0x3200
        # VM, VIF and reserved bits are not for POPF.
        push    0x1a8028
        popfq
        pushfq
        pop     rax
        push    2
        popfq
        and     eax, 0x1a802a
        CHECK   "POPF keeps VM, VIF, VIP and reserved bits", rax, 2
        push    0x200000
        popfq
        pushfq
        pop     rax
        and     eax, 0x200000
        CHECK   "ID can be set", rax, 0x200000
        push    2
        popfq

        # A watchpoint hit by MOV SS waits for the instruction behind it.
        mov     eax, offset ss_value
        mov     dr0, rax
        mov     eax, (3 << 16) | (1 << 18) | 0x402
        mov     dr7, rax
        EXPECT  1f
        mov     ss, [ss_value]
        nop
watch_behind:
        nop
1:      CHECK   "MOV SS from a watched word", [ex_vec], V_DB
        CHECK   "the trap comes behind the next instruction", [ex_rip], offset watch_behind
        xor     eax, eax
        mov     dr7, rax
        mov     dr6, rax

        # TF and SYSCALL: FMASK takes TF away, so that the kernel is not stepped.
        mov     ecx, 0xc0000080
        rdmsr
        or      al, 1
        wrmsr
        mov     ecx, 0xc0000081
        xor     eax, eax
        mov     edx, 0x001b0008
        wrmsr
        mov     ecx, 0xc0000082
        mov     eax, offset on_syscall
        xor     edx, edx
        wrmsr
        mov     ecx, 0xc0000084
        mov     eax, 0x100
        xor     edx, edx
        wrmsr
        USER    "SYSCALL with TF: no step in the kernel, one directly behind SYSRET", u_step, V_DB, 0, u_step_next
        CHECK   "the kernel ran", [syscalls], 1

        # Everything at once behind one instruction: NMI and a timer interrupt; the NMI goes first.
        HOOK    0x50, on_timer
        mov     dword ptr [rbx + 0x320], 0x10050
        mov     dword ptr [rbx + 0x300], 0x40050        # self-IPI 50h, pending while IF is clear
        mov     qword ptr [order], 0
        mov     qword ptr [nmi_count], 0
        sti
        call    send_nmi
        nop
        cli
        CHECK   "interrupt behind STI, before the NMI was sent", [order], 1

        # An interrupt whose gate is absent: #NP with EXT and IDT bits, the interrupt is lost but in service.
        and     byte ptr [idt + 0x51*16 + 5], 0x7f
        mov     dword ptr [rbx + 0x300], 0x40051
        mov     qword ptr [ex_count], 0
        mov     [resume_rsp], rsp
        mov     qword ptr [resume_flags], 2
        mov     qword ptr [resume_rip], offset absent_end
        sti
        nop
absent_at:
        nop
        nop
absent_end:
        cli
        CHECK   "interrupt with an absent gate", [ex_vec], V_NP
        CHECK   "its error code", [ex_err], 0x51*8 + 3
        CHECK   "its RIP", [ex_rip], offset absent_at
        mov     eax, [rbx + 0x100 + 0x20]
        CHECK   "it is in service", rax, 0x20000
        mov     dword ptr [rbx + 0xb0], 0

        ret

send_nmi:
        mov     dword ptr [rbx + 0x310], 0
        mov     dword ptr [rbx + 0x300], 0x400
        ret

on_nmi: inc     qword ptr [nmi_count]
        cmp     qword ptr [nmi_count], 1
        jne     3f
        mov     eax, LAPIC
        cmp     qword ptr [nmi_plan], 1
        jne     1f
        mov     dword ptr [rax + 0x310], 0
        mov     dword ptr [rax + 0x300], 0x400
        nop
        mov     qword ptr [in_first], 1
        int3
        mov     qword ptr [in_first], 0
        ret
1:      cmp     qword ptr [nmi_plan], 2
        jne     3f
        mov     dword ptr [rax + 0x310], 0
        mov     dword ptr [rax + 0x300], 0x400
        mov     dword ptr [rax + 0x300], 0x400
        mov     dword ptr [rax + 0x300], 0x400
3:      mov     rax, [in_first]
        mov     [nmi_at_int3], rax
        ret

on_int3: ret

on_timer:
        mov     rax, [nmi_count]
        inc     rax
        mov     [order], rax
        mov     eax, LAPIC + 0xb0
        mov     dword ptr [rax], 0
        ret

on_syscall:
        inc     qword ptr [syscalls]
        sysretq

.data
ss_value: .word KDATA

.bss
nmi_count: .skip 8
nmi_plan: .skip 8
nmi_at_int3: .skip 8
in_first: .skip 8
saved_rsp: .skip 8
syscalls: .skip 8
order:  .skip   8

.section .user
u_popf: push    0x0200
        popfq
        int     0x80
u_popf_end:
u_step: pushfq
        or      dword ptr [rsp], 0x100
        popfq
        syscall
u_step_next:
        nop
