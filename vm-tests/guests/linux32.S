# A 32-bit Linux program: system calls by INT 80h, a thread area through GS, arithmetic that only 32-bit code has, a
# signal handler, a child process. Prints a line each; ends with status 42.
.intel_syntax noprefix

.equ SYS_EXIT, 1
.equ SYS_FORK, 2
.equ SYS_WRITE, 4
.equ SYS_WAITPID, 7
.equ SYS_GETPID, 20
.equ SYS_KILL, 37
.equ SYS_SIGNAL, 48
.equ SYS_SET_THREAD_AREA, 243
.equ SIGUSR1, 10

.macro SAY text
        mov     ecx, offset .Ltext\@
        mov     edx, .Lend\@ - .Ltext\@
        call    write
        .pushsection .rodata
.Ltext\@: .ascii "\text\n"
.Lend\@:
        .popsection
.endm

.text
.globl _start
_start:
        SAY     "32-bit: started"
        # Decimal arithmetic and the like are gone in 64-bit mode.
        mov     al, 0x19
        add     al, 0x28
        daa
        cmp     al, 0x47
        jne     failed
        pushad
        popad
        SAY     "32-bit: DAA"

        # A segment of its own, by set_thread_area.
        mov     eax, SYS_SET_THREAD_AREA
        mov     ebx, offset thread_area
        int     0x80
        test    eax, eax
        jnz     failed
        mov     eax, [thread_area]
        lea     eax, [eax*8 + 3]
        mov     gs, eax
        cmp     dword ptr gs:[4], 0x600df00d
        jne     failed
        SAY     "32-bit: GS"

        # x87 in the midst of system calls.
        fld1
        fldpi
        mov     eax, SYS_GETPID
        int     0x80
        faddp
        fistp   dword ptr [number]
        cmp     dword ptr [number], 4
        jne     failed
        SAY     "32-bit: x87"

        # A signal.
        mov     eax, SYS_SIGNAL
        mov     ebx, SIGUSR1
        mov     ecx, offset on_signal
        int     0x80
        mov     eax, SYS_GETPID
        int     0x80
        mov     ebx, eax
        mov     ecx, SIGUSR1
        mov     eax, SYS_KILL
        int     0x80
        cmp     dword ptr [signals], 1
        jne     failed
        SAY     "32-bit: signal"

        # A child.
        mov     eax, SYS_FORK
        int     0x80
        test    eax, eax
        jz      child
        mov     ebx, eax
        mov     ecx, offset number
        xor     edx, edx
        mov     eax, SYS_WAITPID
        int     0x80
        cmp     dword ptr [number], 7 << 8
        jne     failed
        SAY     "32-bit: child"
        mov     ebx, 42
exit:   mov     eax, SYS_EXIT
        int     0x80

child:  mov     ebx, 7
        jmp     exit
failed: SAY     "32-bit: FAILED"
        mov     ebx, 1
        jmp     exit

write:  mov     ebx, 1
        mov     eax, SYS_WRITE
        int     0x80
        ret

on_signal:
        inc     dword ptr [signals]
        ret

.data
.balign 4
thread_area:
        .long   -1, thread, 0xfff, 0x51         # number, base, limit; 32-bit, limit in pages, usable
thread: .long   0, 0x600df00d

.bss
number: .skip   4
signals: .skip  4
