# Four-level paging: page sizes, rights, accessed and dirty bits, reserved bits, error codes, CR2.
.include "prelude.S"

.equ V, 0x40000000              # linear address under test: PDPT entry 1, PD entry 0, PT entry 0
.equ PA, 0x600000               # physical memory that it is mapped to

main:
        mov     dword ptr [pdpt + 8], offset pd + 7
        mov     dword ptr [pd], offset pt + 7
        mov     rbx, V
        mov     dword ptr [PA], 0x11223344
        mov     dword ptr [PA + 0x1000], 0x55667788

        # Not present, at each level.
        FAULT   "read of an absent page", V_PF, 0, mov eax, [rbx + 8]
        CHECK   "CR2 of a read", [ex_cr2], V + 8
        FAULT   "write of an absent page", V_PF, 2, mov [rbx + 0xffd], eax
        CHECK   "CR2 of a write", [ex_cr2], V + 0xffd
        FAULT   "absent PDE", V_PF, 0, mov eax, [rbx + 0x200000]
        mov     rcx, 0x80000000
        FAULT   "absent PDPTE", V_PF, 0, mov eax, [rcx]
        mov     rcx, 0x8000000000
        FAULT   "absent PML4E", V_PF, 0, mov eax, [rcx]

        # A 4 KiB page, A and D.
        mov     qword ptr [pt], PA + P_ + RW
        mov     eax, [rbx]
        CHECK   "4K page", rax, 0x11223344
        CHECK   "A set by a read", [pt], PA + P_ + RW + A_
        mov     ecx, [pdpt + 8]
        and     ecx, 0xfff
        CHECK   "A set in the PDPTE", rcx, 7 + A_
        mov     [rbx + 4], eax
        CHECK   "D set by a write", [pt], PA + P_ + RW + A_ + D_
        # A read-modify-write sets D even if the value stays.
        mov     qword ptr [pt], PA + P_ + RW
        invlpg  [rbx]
        lock or dword ptr [rbx], 0
        CHECK   "D set by a locked OR of 0", [pt], PA + P_ + RW + A_ + D_
        mov     qword ptr [pt], PA + P_ + RW
        invlpg  [rbx]
        mov     eax, 1
        mov     ecx, 2
        lock cmpxchg [rbx], ecx
        CHECK   "D set by a failed CMPXCHG", [pt], PA + P_ + RW + A_ + D_
        CHECK   "CMPXCHG gave the value", rax, 0x11223344

        # Crossing from a present page into an absent one: CR2 is the second page, nothing is written.
        mov     qword ptr [pt + 8], 0
        mov     dword ptr [PA + 0xffc], 0
        mov     eax, -1
        FAULT   "write crossing into an absent page", V_PF, 2, mov [rbx + 0xffe], eax
        CHECK   "CR2 of the crossing", [ex_cr2], V + 0x1000
        CHECK   "nothing written before the crossing", [PA + 0xff8], 0
        mov     qword ptr [pt + 8], PA + 0x1000 + P_ + RW
        mov     dword ptr [rbx + 0xffe], 0xaabbccdd
        movzx   edx, word ptr [PA + 0xffe]
        CHECK   "crossing write, first part", rdx, 0xccdd
        mov     eax, [rbx + 0xffe]
        mov     ecx, 0xaabbccdd
        CHECK   "crossing read", rax, rcx
        CHECK   "D of the second page", [pt + 8], PA + 0x1000 + P_ + RW + A_ + D_

        # Read-only and WP.
        mov     qword ptr [pt], PA + P_
        invlpg  [rbx]
        FAULT   "write to a read-only page", V_PF, 3, mov [rbx], eax
        CHECK   "a refused write sets no D", [pt], PA + P_
        mov     eax, [rbx]
        FAULT   "write through a cached read-only entry", V_PF, 3, mov [rbx], eax
        mov     rax, cr0
        btr     rax, 16
        mov     cr0, rax
        NOFAULT "write to a read-only page without WP", mov [rbx + 16], eax
        CHECK   "D set without WP", [pt], PA + P_ + A_ + D_
        bts     rax, 16
        mov     cr0, rax
        FAULT   "write to a read-only page, WP on again", V_PF, 3, mov [rbx], eax
        # Read-only in the PDE.
        mov     qword ptr [pt], PA + P_ + RW
        and     byte ptr [pd], ~RW
        invlpg  [rbx]
        FAULT   "PDE read-only", V_PF, 3, mov [rbx], eax
        or      byte ptr [pd], RW
        invlpg  [rbx]
        NOFAULT "PDE writable again", mov [rbx + 4], eax

        # No execution.
        mov     byte ptr [PA + 0x100], 0xc3     # ret
        lea     rcx, [rbx + 0x100]
        NOFAULT "call of a page without NX", call rcx
        mov     rax, 1 << 63
        or      [pt], rax
        invlpg  [rbx]
        EXPECT  1f
        call    rcx
1:      push    offset name_nx
        push    V_PF
        push    0x11
        push    rcx
        call    check_event
        CHECK   "CR2 of a fetch", [ex_cr2], rcx
        movzx   edx, byte ptr [rbx + 0x100]
        CHECK   "reading an NX page", rdx, 0xc3
        or      [pd], rax
        mov     qword ptr [pt], PA + P_ + RW
        invlpg  [rbx]
        EXPECT  1f
        call    rcx
1:      push    offset name_nx_pd
        push    V_PF
        push    0x11
        push    rcx
        call    check_event
        btr     qword ptr [pd], 63

        # Reserved bits.
        mov     qword ptr [pd + 8], 0x600000 + P_ + RW + PSZ + 0x2000
        FAULT   "reserved bit 13 of a 2M entry", V_PF, 9, mov eax, [rbx + 0x200000]
        FAULT   "reserved bit, write", V_PF, 0xb, mov [rbx + 0x200000], eax
        mov     rax, 1 << 51
        mov     qword ptr [pt + 16], PA + P_ + RW
        or      [pt + 16], rax
        FAULT   "address bit 51 in a PTE", V_PF, 9, mov eax, [rbx + 0x2000]
        mov     qword ptr [pt + 16], PA + P_ + RW
        # A reserved bit above an absent page is not seen; in a present PML4E bit 7 is.
        mov     rax, [pml4]
        or      rax, PSZ
        mov     [pml4 + 8], rax
        mov     rcx, 0x8000000000
        FAULT   "PS in a PML4E", V_PF, 9, mov eax, [rcx]
        mov     qword ptr [pml4 + 8], 0

        # NX is reserved while EFER.NXE is clear.
        mov     ecx, 0xc0000080
        rdmsr
        btr     eax, 11
        wrmsr
        bts     qword ptr [pt], 63
        invlpg  [rbx]
        FAULT   "NX bit without NXE", V_PF, 9, mov eax, [rbx]
        btr     qword ptr [pt], 63
        bts     eax, 11
        mov     ecx, 0xc0000080
        xor     edx, edx
        mov     eax, 0x901
        wrmsr

        # 2 MiB and 1 GiB pages.
        mov     qword ptr [pd + 16], 0x600000 + P_ + RW + PSZ
        mov     eax, [rbx + 0x400000 + 0x1000]
        CHECK   "2M page", rax, 0x5566aabb
        CHECK   "A of a 2M page", [pd + 16], 0x600000 + P_ + RW + PSZ + A_
        mov     [rbx + 0x5ffffc], eax
        CHECK   "D of a 2M page", [pd + 16], 0x600000 + P_ + RW + PSZ + A_ + D_
        mov     edx, [0x7ffffc]
        CHECK   "end of a 2M page", rdx, 0x5566aabb
        mov     qword ptr [pdpt + 16], P_ + RW + PSZ
        mov     rcx, 0x80000000
        mov     eax, [rcx + 0x601000]
        CHECK   "1G page", rax, 0x5566aabb
        mov     [rcx + 0x601004], eax
        CHECK   "A and D of a 1G page", [pdpt + 16], P_ + RW + PSZ + A_ + D_
        mov     qword ptr [pdpt + 16], P_ + RW + PSZ + 0x4000
        mov     rax, cr3
        mov     cr3, rax
        FAULT   "reserved bit of a 1G entry", V_PF, 9, mov eax, [rcx]
        mov     qword ptr [pdpt + 16], 0

        # User and supervisor.
        mov     qword ptr [pt], PA + P_ + RW + US
        mov     qword ptr [pt + 8], PA + 0x1000 + P_ + RW
        mov     qword ptr [pt + 16], PA + 0x2000 + P_ + US
        invlpg  [rbx]
        invlpg  [rbx + 0x1000]
        invlpg  [rbx + 0x2000]
        USER    "user read of a user page", u_read, 0x80, 0, u_read_end
        USER    "user read of a supervisor page", u_read_super, V_PF, 5, u_read_super
        USER    "user write of a supervisor page", u_write_super, V_PF, 7, u_write_super
        USER    "user write of a read-only page", u_write_ro, V_PF, 7, u_write_ro
        USER    "user read of an absent page", u_absent, V_PF, 4, u_absent
        USER    "user jump to kernel code", u_jump, V_PF, 0x15, main
        mov     ecx, offset main
        CHECK   "CR2 of the jump", [ex_cr2], rcx
        and     dword ptr [pd], ~US
        invlpg  [rbx]
        USER    "PDE for supervisors", u_read, V_PF, 5, u_read
        or      dword ptr [pd], US

        # SMEP and SMAP.
        mov     rax, cr4
        bts     rax, 20
        mov     cr4, rax
        mov     rcx, offset u_return
        EXPECT  1f
        call    rcx
1:      push    offset name_smep
        push    V_PF
        push    0x11
        push    rcx
        call    check_event
        NOFAULT "SMEP lets data be read", mov eax, [rbx]
        mov     rax, cr4
        btr     rax, 20
        bts     rax, 21
        mov     cr4, rax
        NOFAULT "SMAP lets code be fetched", call rcx
        FAULT   "SMAP, read", V_PF, 1, mov eax, [rbx]
        FAULT   "SMAP, write", V_PF, 3, mov [rbx], eax
        stac
        mov     eax, [rbx]
        clac
        CHECK   "SMAP with AC set", rax, 0x11223344
        FAULT   "SMAP, AC clear again", V_PF, 1, mov eax, [rbx]
        NOFAULT "SMAP leaves supervisor pages", mov eax, [rbx + 0x1000]
        USER    "user read under SMAP", u_read, 0x80, 0, u_read_end
        mov     rax, cr4
        btr     rax, 21
        mov     cr4, rax
        NOFAULT "SMAP off", mov eax, [rbx]
        FAULT   "STAC with LOCK", V_UD, 0, .byte 0xf0, 0x0f, 0x01, 0xcb

        # Not canonical: #GP, through the stack registers #SS.
        mov     rcx, 0x0000800000000000
        FAULT   "read at a non-canonical address", V_GP, 0, mov eax, [rcx]
        FAULT   "read over the end of the lower half", V_GP, 0, mov rax, [rcx - 4]
        mov     rbp, rcx
        FAULT   "non-canonical by RBP", V_SS, 0, mov eax, [rbp]
        FAULT   "non-canonical by RBP with a DS prefix", V_SS, 0, .byte 0x3e, 0x8b, 0x45, 0
        FAULT   "non-canonical by RCX with RSP as base", V_SS, 0, mov eax, [rsp + rcx]
        FAULT   "jump to a non-canonical address", V_GP, 0, jmp rcx
        NOFAULT "INVLPG of a non-canonical address", invlpg [rcx]
        ret

.section .rodata
name_nx: .asciz "call of an NX page"
name_nx_pd: .asciz "call below an NX PDE"
name_smep: .asciz "SMEP"

.bss
.balign 4096
pd:     .skip   4096
pt:     .skip   4096

.section .user
u_read: mov     eax, [V]
        int     0x80
u_read_end:
u_read_super: mov eax, [V + 0x1000]
u_write_super: mov [V + 0x1000], eax
u_write_ro: mov [V + 0x2000], eax
u_absent: mov   eax, [V + 0x3000]
u_jump: mov     eax, offset main
        jmp     rax
u_return: ret
