# Several vCPUs: INIT and SIPI, IPIs of every kind, locked counters, a ticket lock, memory seen in order, code changed
# by another vCPU, TLB shootdown, broadcast NMI. VCPUS says how many there are.
.include "prelude.S"
.include "board.S"

.equ V, 0x40000000
.equ ROUNDS, 3000

main:
        mov     dword ptr [pdpt + 8], offset pd + 7
        mov     dword ptr [pd], offset pt + 7
        mov     qword ptr [pt], 0x600000 + P_ + RW
        HOOK    0x60, on_ipi
        HOOK    0x61, on_shootdown
        HOOK    2, on_nmi
        # The trampoline goes below 1 MiB, where a SIPI can start it.
        START_COPY
        call    lapic_on
        mov     ebx, LAPIC
        # Start them all.
        mov     dword ptr [rbx + 0x310], 0
        mov     dword ptr [rbx + 0x300], 0xc4500        # INIT to all but self
        mov     ecx, 100
        call    wait_us
        mov     dword ptr [rbx + 0x300], 0xc4600 + (TRAMPOLINE >> 12)
        mov     ecx, 200
        call    wait_us
        mov     dword ptr [rbx + 0x300], 0xc4600 + (TRAMPOLINE >> 12)   # ignored by those that run
        mov     eax, VCPUS-1
        call    wait_arrived
        CHECK   "vCPUs started", [arrived], VCPUS-1
        mov     rax, [ids]
        CHECK   "each with its own APIC id", rax, (1 << VCPUS) - 2

        # All together, counting without and with LOCK.
        mov     qword ptr [go], 1
        call    work
        mov     eax, VCPUS
        call    wait_done
        CHECK   "LOCK INC", [counter_inc], VCPUS * ROUNDS
        CHECK   "LOCK CMPXCHG", [counter_cmpxchg], VCPUS * ROUNDS
        CHECK   "under a ticket lock", [counter_ticket], VCPUS * ROUNDS
        CHECK   "LOCK CMPXCHG16B, low half", [counter_16b], VCPUS * ROUNDS
        CHECK   "LOCK CMPXCHG16B, high half", [counter_16b + 8], VCPUS * ROUNDS * 2

        # An IPI to each, by its id, then to all but self, then to all; HLT wakes.
        mov     ecx, 1
1:      cmp     ecx, VCPUS
        jae     2f
        mov     eax, ecx
        shl     eax, 24
        mov     [rbx + 0x310], eax
        mov     dword ptr [rbx + 0x300], 0x60
        inc     ecx
        jmp     1b
2:      mov     eax, VCPUS-1
        call    wait_ipis
        CHECK   "IPIs by id", [ipis], VCPUS-1
        mov     dword ptr [rbx + 0x300], 0xc0060
        mov     eax, 2*(VCPUS-1)
        call    wait_ipis
        CHECK   "to all but self", [ipis], 2*(VCPUS-1)
        sti
        mov     dword ptr [rbx + 0x300], 0x80060
        mov     eax, 2*(VCPUS-1)+VCPUS
        call    wait_ipis
        cli
        CHECK   "to all", [ipis], 2*(VCPUS-1)+VCPUS
        # Logical destinations, flat: the APICs set LDR to 1 << id.
        mov     eax, 0x02000000
        mov     [rbx + 0x310], eax
        mov     qword ptr [ipis], 0
        mov     dword ptr [rbx + 0x300], 0x860
        mov     eax, 1
        call    wait_ipis
        CHECK   "logical destination", [ipis], 1
        CHECK   "to vCPU 1", [last_ipi_id], 1
        # NMI to all but self.
        mov     dword ptr [rbx + 0x300], 0xc0400
        mov     ecx, 300
        call    wait_us
        CHECK   "NMIs", [nmis], VCPUS-1

        # Shootdown: the others have read through a mapping that now changes.
        mov     qword ptr [0x600000], 1
        mov     qword ptr [0x601000], 2
        mov     qword ptr [done], 0
        mov     qword ptr [go], 2               # they read V once, then wait for 3
        mov     dword ptr [rbx + 0x300], 0xc0060
        mov     eax, VCPUS-1
        call    wait_done
        CHECK   "all read the first page", [sum], VCPUS-1
        mov     qword ptr [pt], 0x601000 + P_ + RW
        mov     qword ptr [done], 0
        mov     qword ptr [sum], 0
        mov     dword ptr [rbx + 0x300], 0xc0061
        mov     eax, VCPUS-1
        call    wait_done
        CHECK   "all read the second after INVLPG", [sum], 2*(VCPUS-1)

        # Cross-modifying code: vCPU 1 runs a loop until its code is changed.
        mov     qword ptr [done], 0
        mov     qword ptr [go], 3
        mov     ecx, 300
        call    wait_us
        mov     word ptr [spin], 0x9090         # the jump becomes two NOPs
        mov     eax, VCPUS-1
        call    wait_done
        CHECK   "left the changed loop", [done], VCPUS-1

        # INIT stops a vCPU for good; its memory stays.
        mov     dword ptr [rbx + 0x310], 0x01000000
        mov     dword ptr [rbx + 0x300], 0x4500
        mov     ecx, 100
        call    wait_us
        mov     qword ptr [ipis], 0
        mov     dword ptr [rbx + 0x300], 0xc0060
        mov     ecx, 300
        call    wait_us
        CHECK   "no IPI for one that waits for SIPI", [ipis], VCPUS-2
        mov     qword ptr [arrived], 0
        mov     qword ptr [go], 0
        mov     dword ptr [rbx + 0x310], 0x01000000
        mov     dword ptr [rbx + 0x300], 0x4600 + (TRAMPOLINE >> 12)
        mov     eax, 1
        call    wait_arrived
        CHECK   "started again", [arrived], 1
        ret

# Waits until the counter has reached RAX, at most 20 ms.
.macro WAITER name, counter
\name:  push    rcx
        push    rdx
        push    rax
        mov     ecx, 200
1:      cmp     [\counter], rax
        jae     2f
        push    rcx
        mov     ecx, 100
        call    wait_us
        pop     rcx
        dec     ecx
        jnz     1b
2:      pop     rax
        pop     rdx
        pop     rcx
        ret
.endm
WAITER wait_arrived, arrived
WAITER wait_done, done
WAITER wait_ipis, ipis

WAIT_US pause

# Enables this vCPU's APIC; its logical id is 1 << id. Gives the id in R15.
lapic_on:
        mov     eax, LAPIC
        mov     dword ptr [rax + 0xf0], 0x1ff
        mov     dword ptr [rax + 0xe0], 0xffffffff
        mov     ecx, [rax + 0x20]
        shr     ecx, 24
        mov     r15d, ecx
        mov     edx, 0x01000000
        shl     edx, cl
        mov     [rax + 0xd0], edx
        ret

# What every vCPU does.
work:   mov     r12d, ROUNDS
1:      lock inc qword ptr [counter_inc]
        mov     rax, [counter_cmpxchg]
2:      lea     rcx, [rax + 1]
        lock cmpxchg [counter_cmpxchg], rcx
        jne     2b
        mov     eax, 1
        lock xadd [ticket_next], rax
3:      cmp     [ticket_now], rax
        je      4f
        pause
        jmp     3b
4:      inc     qword ptr [counter_ticket]      # not locked
        inc     qword ptr [ticket_now]
        mov     rax, [counter_16b]
        mov     rdx, [counter_16b + 8]
5:      mov     r8, rbx
        lea     rbx, [rax + 1]
        lea     rcx, [rdx + 2]
        lock cmpxchg16b [counter_16b]
        mov     rbx, r8
        jne     5b
        dec     r12d
        jnz     1b
        lock inc qword ptr [done]
        ret

ap_main:
        lidt    [idt_pointer]
        call    lapic_on
        lock bts [ids], r15
        mov     eax, r15d
        shl     eax, 12
        lea     rsp, [ap_stacks + rax + 4096]
        lock inc qword ptr [arrived]
1:      pause
        cmp     qword ptr [go], 1
        jne     1b
        call    work
2:      cli
        cmp     qword ptr [go], 2
        jae     3f
        sti
        hlt
        jmp     2b
3:      sti
        call    read_v
4:      cmp     qword ptr [go], 3
        jae     spin
        pause
        jmp     4b
.balign 16
spin:   jmp     spin
        nop
        lock inc qword ptr [done]
5:      hlt
        jmp     5b

read_v: mov     rax, [V]
        lock add [sum], rax
        lock inc qword ptr [done]
        ret

on_ipi: mov     eax, LAPIC
        mov     ecx, [rax + 0x20]
        shr     ecx, 24
        mov     [last_ipi_id], rcx
        lock inc qword ptr [ipis]
        mov     dword ptr [rax + 0xb0], 0
        ret

on_shootdown:
        invlpg  [V]
        call    read_v
        mov     eax, LAPIC
        mov     dword ptr [rax + 0xb0], 0
        ret

on_nmi: lock inc qword ptr [nmis]
        ret

START_BEGIN
        # A stack of its own while it is being set up: by the APIC's id.
        mov     eax, LAPIC + 0x20
        mov     eax, [eax]
        shr     eax, 12
        lea     esp, [eax + ap_stacks + 4096]
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
.balign 16
counter_16b: .skip 16
counter_inc: .skip 8
counter_cmpxchg: .skip 8
counter_ticket: .skip 8
ticket_next: .skip 8
ticket_now: .skip 8
arrived: .skip  8
ids:    .skip   8
go:     .skip   8
done:   .skip   8
ipis:   .skip   8
nmis:   .skip   8
sum:    .skip   8
last_ipi_id: .skip 8
