# More of several vCPUs: x2APIC with clusters, lowest priority, self and broadcast by shorthand, I/O APIC interrupts to
# other vCPUs, MONITOR and MWAIT, exceptions on every vCPU at once.
.include "prelude.S"
.include "board.S"

.equ ROUNDS, 500

.macro X2WRITE register, value
        mov     ecx, 0x800 + (\register >> 4)
        mov     eax, \value
        xor     edx, edx
        wrmsr
.endm

main:
        HOOK    0x60, on_ipi
        HOOK    0x62, on_line
        HOOK    V_UD, on_ud
        HOOK    V_PF, on_pf
        mov     dword ptr [pdpt + 8], offset pd + 7
        mov     dword ptr [pd], offset pt + 7
        START_COPY
        call    lapic_on
        # INIT and SIPI through the x2APIC, by id.
        mov     r12d, 1
1:      cmp     r12d, VCPUS
        jae     2f
        mov     ecx, 0x830
        mov     edx, r12d
        mov     eax, 0x4500
        wrmsr
        mov     eax, 0x4600 + (TRAMPOLINE >> 12)
        wrmsr
        inc     r12d
        jmp     1b
2:      mov     eax, VCPUS-1
        mov     esi, offset arrived
        call    wait_for
        CHECK   "vCPUs started by x2APIC", [arrived], VCPUS-1

        # Logical x2APIC id: cluster 0, bit of the id.
        mov     ecx, 0x80d
        rdmsr
        CHECK   "logical id of vCPU 0", rax, 1
        mov     rax, [logical_ids]
        CHECK   "logical ids together", rax, (1 << VCPUS) - 2
        # To all of the cluster but vCPU 0.
        mov     ecx, 0x830
        mov     edx, (1 << VCPUS) - 2
        mov     eax, 0x860                      # logical
        wrmsr
        mov     eax, VCPUS-1
        mov     esi, offset ipis
        call    wait_for
        CHECK   "logical destination with several bits", [ipis], VCPUS-1
        # Broadcast: physical FFFFFFFFh, myself included.
        mov     qword ptr [ipis], 0
        sti
        mov     ecx, 0x830
        mov     edx, -1
        mov     eax, 0x60
        wrmsr
        mov     eax, VCPUS
        mov     esi, offset ipis
        call    wait_for
        cli
        CHECK   "physical broadcast", [ipis], VCPUS
        # Lowest priority among all goes to one only.
        mov     qword ptr [ipis], 0
        sti
        mov     ecx, 0x830
        mov     edx, (1 << VCPUS) - 1
        mov     eax, 0x960
        wrmsr
        mov     ecx, 500
        call    wait_us
        cli
        CHECK   "lowest priority", [ipis], 1

        # The PIT to vCPU 1, by the I/O APIC.
        mov     ebp, IOAPIC
        mov     dword ptr [rbp], 0x15
        mov     dword ptr [rbp + 0x10], 1 << 24
        mov     dword ptr [rbp], 0x14
        mov     dword ptr [rbp + 0x10], 0x62
        mov     al, 0x34
        out     0x43, al
        mov     al, 50
        out     0x40, al
        xor     eax, eax
        out     0x40, al
        mov     eax, 5
        mov     esi, offset lines
        call    wait_for
        mov     dword ptr [rbp], 0x14
        mov     dword ptr [rbp + 0x10], 0x10062
        CHECK   "interrupts of the PIT on vCPU 1 only", [line_ids], 2

        # MWAIT: they wait for a write to a line.
        mov     qword ptr [done], 0
        mov     qword ptr [phase], 1
        mov     ecx, 300
        call    wait_us
        mov     qword ptr [watched], 1
        mov     eax, VCPUS-1
        mov     esi, offset done
        call    wait_for
        CHECK   "MWAIT ended by a write", [done], VCPUS-1

        # Exceptions on all at once: each its own, none lost.
        mov     qword ptr [done], 0
        mov     qword ptr [phase], 2
        call    fault_work
        mov     eax, VCPUS
        mov     esi, offset done
        call    wait_for
        CHECK   "#UD of all", [uds], VCPUS * ROUNDS
        CHECK   "#PF of all", [pfs], VCPUS * ROUNDS
        CHECK   "CR2 was one's own each time", [bad_cr2], 0

        # Accessed and dirty bits set by all at once in one table are all there.
        mov     qword ptr [done], 0
        xor     ecx, ecx
3:      mov     eax, ecx
        shl     eax, 12
        add     eax, 0x600000 + P_ + RW
        mov     [pt + rcx*8], rax
        inc     ecx
        cmp     ecx, 256
        jne     3b
        mov     qword ptr [phase], 3
        call    dirty_work
        mov     eax, VCPUS
        mov     esi, offset done
        call    wait_for
        xor     ecx, ecx
        xor     r12d, r12d
4:      mov     rax, [pt + rcx*8]
        and     eax, A_ + D_
        cmp     eax, A_ + D_
        jne     5f
        inc     r12d
5:      inc     ecx
        cmp     ecx, VCPUS * 32
        jne     4b
        CHECK   "A and D bits", r12, VCPUS * 32
        ret

# Waits until the counter at RSI has reached RAX, at most 50 ms.
wait_for:
        push    rcx
        mov     ecx, 500
1:      cmp     [rsi], rax
        jae     2f
        push    rcx
        mov     ecx, 100
        call    wait_us
        pop     rcx
        dec     ecx
        jnz     1b
2:      pop     rcx
        ret

WAIT_US pause

# This vCPU's APIC in x2APIC mode; its id in R15.
lapic_on:
        mov     ecx, 0x1b
        rdmsr
        or      eax, 0xc00
        wrmsr
        X2WRITE 0xf0, 0x1ff
        mov     ecx, 0x802
        rdmsr
        mov     r15d, eax
        ret

fault_work:
        mov     r12d, ROUNDS
1:      ud2
        mov     ecx, r15d                       # a page of one's own that is never there
        shl     ecx, 12
        add     ecx, 0x40100000
        mov     eax, [rcx]
        dec     r12d
        jnz     1b
        lock inc qword ptr [done]
        ret

dirty_work:
        mov     r12d, 32
        mov     ecx, r15d
        shl     ecx, 12
        add     ecx, 0x40000000
1:      mov     [rcx], r12d
        add     ecx, VCPUS << 12
        dec     r12d
        jnz     1b
        lock inc qword ptr [done]
        ret

ap_main:
        lidt    [idt_pointer]
        call    lapic_on
        mov     ecx, 0x80d
        rdmsr
        lock or [logical_ids], rax
        mov     eax, r15d
        shl     eax, 12
        lea     rsp, [ap_stacks + rax + 4096]
        sti
        lock inc qword ptr [arrived]
1:      cmp     qword ptr [phase], 1
        jae     2f
        pause
        jmp     1b
2:      mov     eax, offset watched
        xor     ecx, ecx
        xor     edx, edx
        monitor
        cmp     qword ptr [watched], 0
        jne     3f
        xor     eax, eax
        mwait
        jmp     2b
3:      lock inc qword ptr [done]
4:      cmp     qword ptr [phase], 2
        jae     5f
        pause
        jmp     4b
5:      call    fault_work
6:      cmp     qword ptr [phase], 3
        jae     7f
        pause
        jmp     6b
7:      call    dirty_work
8:      hlt
        jmp     8b

on_ipi: lock inc qword ptr [ipis]
        X2WRITE 0xb0, 0
        ret

on_line:
        lock inc qword ptr [lines]
        mov     ecx, 0x802
        rdmsr
        mov     ecx, eax
        mov     eax, 1
        shl     eax, cl
        lock or [line_ids], rax
        X2WRITE 0xb0, 0
        ret

on_ud:  lock inc qword ptr [uds]
        add     qword ptr [rdi + F_RIP], 2
        ret

on_pf:  lock inc qword ptr [pfs]
        mov     rax, cr2
        cmp     rax, [rdi + F_RCX]
        je      1f
        lock inc qword ptr [bad_cr2]
1:      add     qword ptr [rdi + F_RIP], 2      # MOV EAX, [RCX]
        ret

START_BEGIN
        mov     eax, 1                          # the initial APIC id, by CPUID
        cpuid
        shr     ebx, 24
        shl     ebx, 12
        lea     esp, [ebx + ap_stacks + 4096]
START_END ap_enter
ap_enter:
        call    enter_long
.code64
        jmp     ap_main

.bss
.balign 4096
pd:     .skip   4096
pt:     .skip   4096
ap_stacks: .skip 8*4096
arrived: .skip  8
logical_ids: .skip 8
ipis:   .skip   8
lines:  .skip   8
line_ids: .skip 8
phase:  .skip   8
done:   .skip   8
uds:    .skip   8
pfs:    .skip   8
bad_cr2: .skip  8
.balign 64
watched: .skip  64
