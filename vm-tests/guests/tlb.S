# The TLB as guests see it. That entries outlive what need not drop them is not demanded (hardware may drop
# any of them) but for one case, on which guests with bugs depend:
# stale entries, INVLPG, CR3 and CR4 writes, global pages, PCID and INVPCID.
.include "prelude.S"

.equ V, 0x40000000
.equ ONE, 0x600000              # a page that holds 1, and so on
.equ TWO, 0x601000
.equ THREE, 0x602000

main:
        mov     dword ptr [pdpt + 8], offset pd + 7
        mov     dword ptr [pd], offset pt + 7
        mov     qword ptr [ONE], 1
        mov     qword ptr [TWO], 2
        mov     qword ptr [THREE], 3
        mov     rbx, V

        # INVLPG takes the new entry into use, for any address of the page.
        mov     qword ptr [pt], ONE + P_ + RW
        CHECK   "first mapping", [rbx], 1
        mov     qword ptr [pt], TWO + P_ + RW
        CHECK   "an entry changed in memory only", [rbx], 1
        invlpg  [rbx + 0x123]
        CHECK   "INVLPG", [rbx], 2
        # So does any write to CR3.
        mov     qword ptr [pt], THREE + P_ + RW
        mov     rax, cr3
        mov     cr3, rax
        CHECK   "write to CR3", [rbx], 3
        # An absent entry is not cached: making it present needs no INVLPG.
        mov     qword ptr [pt + 8], 0
        FAULT   "absent page", V_PF, 0, mov rax, [rbx + 0x1000]
        mov     qword ptr [pt + 8], ONE + P_
        CHECK   "made present", [rbx + 0x1000], 1
        # A page fault drops what is cached for its address.
        FAULT   "write to a read-only page", V_PF, 3, mov [rbx + 0x1000], rax
        mov     qword ptr [pt + 8], TWO + P_ + RW
        mov     qword ptr [rbx + 0x1000], 22
        CHECK   "made writable after the fault", [TWO], 22
        mov     qword ptr [TWO], 2
        # INVLPG within a 2 MiB page drops all of it.
        mov     qword ptr [pd + 8], 0x600000 + P_ + RW + PSZ
        CHECK   "large page", [rbx + 0x200000], 1
        CHECK   "large page, second part", [rbx + 0x201000], 2
        mov     qword ptr [pd + 8], 0x400000 + P_ + RW + PSZ
        mov     qword ptr [0x400000 + 0x1f0000], 77
        invlpg  [rbx + 0x3ff000]
        CHECK   "large page moved", [rbx + 0x3f0000], 77
        # Replacing a page table.
        mov     dword ptr [pd], offset pt2 + 7
        mov     qword ptr [pt2], THREE + P_ + RW
        mov     qword ptr [pt2 + 8], THREE + P_ + RW
        invlpg  [rbx]
        invlpg  [rbx + 0x1000]
        CHECK   "another page table", [rbx + 0x1000], 3
        mov     dword ptr [pd], offset pt + 7
        invlpg  [rbx]
        invlpg  [rbx + 0x1000]

        # Global pages outlive CR3, not INVLPG and not a change of CR4.PGE.
        mov     rax, cr4
        bts     rax, 7
        mov     cr4, rax
        mov     qword ptr [pt + 16], ONE + P_ + RW + G_
        CHECK   "global page", [rbx + 0x2000], 1
        mov     qword ptr [pt + 16], TWO + P_ + RW + G_
        mov     rax, cr3
        mov     cr3, rax
        invlpg  [rbx + 0x2000]
        CHECK   "global page after INVLPG", [rbx + 0x2000], 2
        mov     qword ptr [pt + 16], THREE + P_ + RW + G_
        mov     rax, cr4
        btr     rax, 7
        mov     cr4, rax
        CHECK   "global page after PGE", [rbx + 0x2000], 3
        mov     qword ptr [pt + 16], ONE + P_ + RW
        mov     rax, cr3
        mov     cr3, rax
        CHECK   "no global pages without PGE", [rbx + 0x2000], 1

        # PCID.
        mov     rax, cr3
        or      rax, 1
        mov     cr3, rax
        mov     rcx, cr4
        bts     rcx, 17
        FAULT   "PCIDE with a PCID in CR3", V_GP, 0, mov cr4, rcx
        and     rax, ~0xfff
        mov     cr3, rax
        NOFAULT "PCIDE", mov cr4, rcx
        mov     r12, rax                        # PCID 0
        lea     r13, [rax + 1]                  # PCID 1
        mov     r14, r13
        bts     r14, 63                         # PCID 1, nothing dropped
        mov     r15, r12
        bts     r15, 63
        mov     qword ptr [pt + 24], ONE + P_ + RW
        mov     cr3, r13
        CHECK   "under PCID 1", [rbx + 0x3000], 1
        mov     rax, cr3
        CHECK   "CR3 with a PCID", rax, r13
        mov     cr3, r15
        mov     qword ptr [pt + 24], TWO + P_ + RW
        CHECK   "under PCID 0, own entries", [rbx + 0x3000], 2
        mov     cr3, r14
        mov     rax, cr3
        CHECK   "bit 63 is not in CR3", rax, r13
        mov     cr3, r13
        CHECK   "without it they are dropped", [rbx + 0x3000], 2

        # INVPCID.
        mov     qword ptr [pt + 24], THREE + P_ + RW
        mov     cr3, r15
        mov     qword ptr [descriptor], 1
        mov     qword ptr [descriptor + 8], 0
        mov     eax, 1
        invpcid rax, [descriptor]               # all of PCID 1
        mov     cr3, r14
        CHECK   "INVPCID of PCID 1", [rbx + 0x3000], 3
        mov     qword ptr [pt + 24], ONE + P_ + RW
        mov     qword ptr [descriptor + 8], V + 0x3000
        xor     eax, eax
        invpcid rax, [descriptor]               # one address
        CHECK   "INVPCID of an address", [rbx + 0x3000], 1
        mov     qword ptr [pt + 24], TWO + P_ + RW
        mov     eax, 3
        invpcid rax, [descriptor]               # all but global
        CHECK   "INVPCID of all but global pages", [rbx + 0x3000], 2
        mov     qword ptr [pt + 24], THREE + P_ + RW
        mov     eax, 2
        invpcid rax, [descriptor]               # everything
        CHECK   "INVPCID of everything", [rbx + 0x3000], 3
        mov     cr3, r15
        CHECK   "also for PCID 0", [rbx + 0x3000], 3
        mov     eax, 4
        FAULT   "INVPCID of type 4", V_GP, 0, invpcid rax, [descriptor]
        mov     eax, 1
        mov     qword ptr [descriptor], 0x1000
        FAULT   "INVPCID with reserved bits", V_GP, 0, invpcid rax, [descriptor]
        mov     qword ptr [descriptor], 1
        mov     rcx, 0x800000000000
        mov     [descriptor + 8], rcx
        xor     eax, eax
        FAULT   "INVPCID of a non-canonical address", V_GP, 0, invpcid rax, [descriptor]
        USER    "INVPCID in ring 3", u_invpcid, V_GP, 0, u_invpcid
        USER    "INVLPG in ring 3", u_invlpg, V_GP, 0, u_invlpg
        mov     cr3, r12
        mov     rax, cr0
        btr     rax, 31
        FAULT   "paging off in 64-bit mode", V_GP, 0, mov cr0, rax
        mov     rcx, cr4
        btr     rcx, 17
        mov     cr4, rcx
        CHECK   "after PCIDE", [rbx + 0x3000], 3
        ret

.bss
.balign 4096
pd:     .skip   4096
pt:     .skip   4096
pt2:    .skip   4096
descriptor: .skip 16

.section .user
u_invpcid: invpcid rax, [user_page]
u_invlpg: invlpg [user_page]
