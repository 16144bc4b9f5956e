# The macros of the bare-metal guests; included by prelude.S.

# Prints a text.
.macro SAY_ text
        push    rsi
        mov     rsi, offset .Ltext\@
        call    put_text
        pop     rsi
        .pushsection .rodata
.Ltext\@: .asciz "\text"
        .popsection
.endm

# Checks that a 64-bit value (register, memory or immediate) is another (register or immediate below 2 GiB).
.macro CHECK name, got, want:vararg
        .pushsection .rodata
.Lname\@: .asciz "\name"
        .popsection
        mov     [check_got], rax                # the operands may be RSP-relative or RAX itself
        mov     rax, \got
        mov     [check_value], rax
        mov     rax, [check_got]
        push    offset .Lname\@
        push    qword ptr [check_value]
        push    \want
        call    check_equal
.endm

# Runs one instruction that must fault: vector, error code, RIP of the instruction itself.
.macro FAULT name, vector, error, instruction:vararg
        EXPECT .Lbehind\@
.Lat\@: \instruction
.Lbehind\@:
        .pushsection .rodata
.Lname\@: .asciz "\name"
        .popsection
        push    offset .Lname\@
        push    \vector
        push    \error
        push    offset .Lat\@
        call    check_event
.endm

# As FAULT, for traps: RIP behind the instruction.
.macro TRAP name, vector, error, instruction:vararg
        EXPECT .Lbehind\@
.Lat\@: \instruction
.Lbehind\@:
        .pushsection .rodata
.Lname\@: .asciz "\name"
        .popsection
        push    offset .Lname\@
        push    \vector
        push    \error
        push    offset .Lbehind\@
        call    check_event
.endm

# Runs one instruction that must not fault.
.macro NOFAULT name, instruction:vararg
        EXPECT .Lbehind\@
.Lat\@: \instruction
.Lbehind\@:
        mov     qword ptr [resume_rip], 0
        CHECK   "\name: events", [ex_count], 0
.endm

# Runs code at ring 3 from `label` on, which must end with an event at `rip`.
.macro USER name, label, vector, error, rip
        push    rdi
        EXPECT .Lback\@
        mov     rdi, offset \label
        jmp     enter_user
.Lback\@:
        pop     rdi
        .pushsection .rodata
.Lname\@: .asciz "\name"
        .popsection
        push    offset .Lname\@
        push    \vector
        push    \error
        push    offset \rip
        call    check_event
.endm

# The next event resumes at `behind` with the stack, and the flags, of now.
.macro EXPECT behind
        mov     qword ptr [ex_count], 0
        mov     [resume_rsp], rsp
        pushfq
        pop     qword ptr [resume_flags]
        mov     qword ptr [resume_rip], offset \behind
.endm

# Events with this vector call `handler` (RDI: the frame) and go on where it left them.
.macro HOOK vector, handler
        mov     qword ptr [hooks + (\vector)*8], offset \handler
.endm
