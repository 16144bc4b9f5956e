    .code32
    .set BASE, 0x100000
    .globl _start
_start:
head:
    .long 0x1BADB002, 0x10000, -(0x1BADB002+0x10000)
    .long head, head, _end, _end, entry
    .align 8
gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr: .word 23
    .long gdt
idtr: .word 2047
    .long 0x110000
    .align 4
entry:
    lgdt gdtr
    ljmp $8, $1f
1:  mov $16, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $0x120000, %esp
    mov $0x110000, %edi
    mov $256, %ecx
    mov $handler, %edx
2:  mov %dx, (%edi)
    movw $8, 2(%edi)
    movw $0x8e00, 4(%edi)
    mov %edx, %eax
    shr $16, %eax
    mov %ax, 6(%edi)
    add $8, %edi
    loop 2b
    lidt idtr
    mov $0x11, %al
    out %al, $0x20
    mov $0x20, %al
    out %al, $0x21
    mov $4, %al
    out %al, $0x21
    mov $1, %al
    out %al, $0x21
    mov $0xee, %al
    out %al, $0x21
    mov $0xff, %al
    out %al, $0xa1
    mov $0x34, %al
    out %al, $0x43
    mov $0x9c, %al
    out %al, $0x40
    mov $0x2e, %al
    out %al, $0x40
    mov $0x3f9, %edx
    mov $1, %al
    out %al, %dx
    mov $0x3fc, %edx
    mov $8, %al
    out %al, %dx
    mov $0x12345, %ebx
    sti
3:  hlt
    # some work after each interrupt: 500 stores all over 512 KiB from 2 MiB on
    mov $500, %ecx
4:  imul $1103515245, %ebx, %ebx
    add $12345, %ebx
    mov %ebx, %edi
    shr $8, %edi
    and $0x7fffc, %edi
    mov %ebx, 0x200000(%edi)
    loop 4b
    jmp 3b
handler:
    pusha
    mov $0x3fd, %edx
    in %dx, %al
    test $1, %al
    jz 5f
    mov $0x3f8, %edx
    in %dx, %al
    mov %al, %bl
    out %al, %dx
    cmp $'q', %bl
    jne 6f
    mov $0x10, %al
    out %al, $0xf4
6:  cmp $'r', %bl
    jne 7f
    mov $0xfe, %al
    out %al, $0x64
7:  cmp $'t', %bl
    jne 5f
    # triple fault
    movw $0, idtr
    lidt idtr
    int3
5:  incl 0x300000
    mov $0x20, %al
    out %al, $0x20
    popa
    iret
_end:
