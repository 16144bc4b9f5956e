# Debug exceptions: single step, breakpoints, watchpoints, RF, GD, ICEBP, DR6 and DR7.
.include "prelude.S"

main:
        HOOK    V_DB, on_debug
        mov     r15d, offset trace

        # Single step: a #DB behind each instruction, from the one behind POPF on.
        pushfq
        or      dword ptr [rsp], 0x100
        popfq
step1:  nop
step2:  inc     eax
step3:  pushfq
        and     dword ptr [rsp], ~0x100
step4:  popfq
step5:  nop
        mov     r14, r15
        sub     r14, offset trace
        CHECK   "steps", r14, 5*16
        CHECK   "first step ends behind NOP", [trace], offset step2
        CHECK   "last step ends behind POPF", [trace + 64], offset step5
        mov     ecx, 0xffff4ff0
        CHECK   "DR6.BS", [trace + 8], rcx
        # A step over REP MOVSB traps after each iteration.
        mov     r15d, offset trace
        mov     esi, offset trace
        mov     edi, offset buffer
        mov     ecx, 3
        pushfq
        or      dword ptr [rsp], 0x100
        popfq
rep_at: rep movsb
rep_behind:
        pushfq
        and     dword ptr [rsp], ~0x100
        popfq
        CHECK   "stepped REP, first iteration", [trace], offset rep_at
        CHECK   "stepped REP, second iteration", [trace + 16], offset rep_at
        CHECK   "stepped REP, last iteration", [trace + 32], offset rep_behind
        # INT clears TF for its handler and steps not into it; the step trap comes behind its IRET.
        mov     r15d, offset trace
        HOOK    0x40, on_int
        pushfq
        or      dword ptr [rsp], 0x100
        popfq
        int     0x40
int_behind:
        nop
int_behind2:
        pushfq
        and     dword ptr [rsp], ~0x100
        popfq
        CHECK   "after INT the next trap", [trace], offset int_behind2
        # MOV SS holds the trap off for one instruction.
        mov     r15d, offset trace
        mov     eax, ss
        pushfq
        or      dword ptr [rsp], 0x100
        popfq
        mov     ss, eax
        nop
ss_behind:
        pushfq
        and     dword ptr [rsp], ~0x100
        popfq
        CHECK   "MOV SS and the next together", [trace], offset ss_behind

        # Instruction breakpoint: a fault, before the instruction; RF in the frame goes over it.
        mov     r15d, offset trace
        mov     eax, offset bp_at
        mov     dr0, rax
        mov     eax, 0x403
        mov     dr7, rax
        xor     eax, eax
        mov     dr6, rax
        xor     r12d, r12d
        nop
bp_at:  inc     r12d
        xor     eax, eax
        mov     dr7, rax
        CHECK   "breakpoint at", [trace], offset bp_at
        mov     ecx, 0xffff0ff1
        CHECK   "DR6.B0", [trace + 8], rcx
        CHECK   "the instruction ran once", r12, 1
        mov     r14, r15
        sub     r14, offset trace
        CHECK   "one breakpoint", r14, 16

        # Watchpoints: write, and read or write, by size and place.
        mov     r15d, offset trace
        mov     eax, offset buffer + 8
        mov     dr1, rax
        mov     eax, offset buffer + 16
        mov     dr2, rax
        # DR1: 4 bytes, writes; DR2: 4 bytes, reads and writes; global.
        mov     eax, (0xd << 20) | (0xf << 24) | 0x428
        mov     dr7, rax
        mov     eax, [buffer + 8]               # a read: nothing
        mov     [buffer + 4], eax               # beside it: nothing
        mov     byte ptr [buffer + 11], 1       # its last byte
watch1: mov     qword ptr [buffer + 4], 0       # across
watch2: mov     eax, [buffer + 16]
watch3: mov     [buffer + 19], al
watch4: xor     eax, eax
        mov     dr7, rax
        mov     r14, r15
        sub     r14, offset trace
        CHECK   "four watchpoint traps", r14, 64
        CHECK   "trap behind a write", [trace], offset watch1
        mov     ecx, 0xffff0ff2
        CHECK   "DR6.B1", [trace + 8], rcx
        CHECK   "trap behind a write across", [trace + 16], offset watch2
        CHECK   "trap behind a read", [trace + 32], offset watch3
        mov     ecx, 0xffff0ff4
        CHECK   "DR6.B2", [trace + 40], rcx
        CHECK   "trap behind a write, read-write", [trace + 48], offset watch4
        # In REP MOVS the trap comes after the iteration that touched it.
        mov     r15d, offset trace
        mov     eax, offset buffer + 34
        mov     dr3, rax
        mov     eax, (1 << 28) | 0x480
        mov     dr7, rax
        mov     esi, offset trace
        mov     edi, offset buffer + 32
        mov     ecx, 8
watch_rep:
        rep movsb
        xor     eax, eax
        mov     dr7, rax
        CHECK   "REP stopped in the middle", [trace], offset watch_rep
        CHECK   "CX then", [trace_rcx], 5
        CHECK   "and went on", rcx, 0

        # A push to a watched stack slot; a faulting instruction traps not.
        mov     r15d, offset trace
        lea     rax, [rsp - 8]
        mov     dr0, rax
        mov     eax, (9 << 16) | 0x402          # 8 bytes, write
        mov     dr7, rax
        push    rax
watch_push:
        pop     rax
        xor     ecx, ecx
        mov     dr7, rcx
        CHECK   "watched PUSH", [trace], offset watch_push

        # Disabled, DR6 may show a match but nothing traps; DR7's fixed bits.
        mov     r15d, offset trace
        mov     eax, offset buffer
        mov     dr0, rax
        mov     eax, 0x10400
        mov     dr7, rax
        mov     [buffer], eax
        mov     r14, r15
        sub     r14, offset trace
        CHECK   "nothing enabled", r14, 0
        xor     eax, eax
        mov     dr7, rax
        mov     rax, dr7
        CHECK   "DR7 bit 10 is one", rax, 0x400
        mov     rax, 1 << 32
        FAULT   "upper half of DR7", V_GP, 0, mov dr7, rax
        FAULT   "upper half of DR6", V_GP, 0, mov dr6, rax
        # DR4 and DR5: DR6 and DR7, with CR4.DE #UD.
        NOFAULT "DR5 without DE", .byte 0x0f, 0x21, 0xe8
        mov     rax, cr4
        or      eax, 8
        mov     cr4, rax
        FAULT   "DR5 with DE", V_UD, 0, .byte 0x0f, 0x21, 0xe8
        mov     rax, cr4
        and     eax, ~8
        mov     cr4, rax

        # GD: any access to a debug register is a #DB before it; the handler gets GD clear.
        HOOK    V_DB, 0
        xor     eax, eax
        mov     dr6, rax
        mov     eax, 0x2400
        mov     dr7, rax
        FAULT   "MOV from DR0 under GD", V_DB, 0, mov rax, dr0
        mov     ecx, 0xffff2ff0
        CHECK   "DR6.BD", [ex_dr6], rcx
        mov     rax, dr7
        CHECK   "GD clear in the handler", rax, 0x400
        # ICEBP leaves DR6 alone.
        xor     eax, eax
        mov     dr6, rax
        TRAP    "ICEBP", V_DB, 0, .byte 0xf1
        mov     ecx, 0xffff0ff0
        CHECK   "DR6 after ICEBP", [ex_dr6], rcx
        USER    "MOV from DR0 in ring 3", u_dr, V_GP, 0, u_dr
        # A single step from ring 3 over SYSCALL-free code.
        USER    "single step in ring 3", u_step, V_DB, 0, u_step_end
        # A fault while stepping: the fault alone, no trap for an instruction that did not finish.
        HOOK    V_DB, on_debug
        HOOK    V_UD, skip_ud2
        mov     r15d, offset trace
        pushfq
        or      dword ptr [rsp], 0x100
        popfq
        ud2
ud_behind:
        nop
ud_behind2:
        pushfq
        and     dword ptr [rsp], ~0x100
        popfq
        CHECK   "the first trap after a fault", [trace], offset ud_behind2
        ret

skip_ud2:
        add     qword ptr [rdi + F_RIP], 2
        ret

# Notes RIP and DR6, and RCX of the first; gives instruction breakpoints RF, and clears DR6.
on_debug:
        mov     rax, [rdi + F_RIP]
        mov     [r15], rax
        mov     rax, dr6
        mov     [r15 + 8], rax
        cmp     r15, offset trace
        jne     1f
        mov     rcx, [rdi + F_RCX]
        mov     [trace_rcx], rcx
1:      and     eax, 0xf
        cmp     eax, 1
        jne     2f
        mov     rcx, dr7
        test    ecx, 0x30000
        jnz     2f
        or      dword ptr [rdi + F_FLAGS], 0x10000
2:      xor     eax, eax
        mov     dr6, rax
        add     qword ptr [rdi], 16             # the frame's R15
        ret

on_int: ret

.bss
trace:  .skip   1024
trace_rcx: .skip 8
buffer: .skip   64

.section .user
u_dr:   mov     rax, dr0
u_step: pushfq
        or      dword ptr [rsp], 0x100
        popfq
        nop
u_step_end:
        nop
