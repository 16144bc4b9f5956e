    .code32
    .set BASE, 0x100000
    .globl _start
_start:
head:
    .long 0x1BADB002, 0x10000, -(0x1BADB002+0x10000)
    .long head, head, _end, _end, entry
entry:
    mov $0x120000, %esp
    mov $0x200000, %edi
    xor %ebx, %ebx
    xor %esi, %esi
    # waits for a byte
1:  inc %ebx
    mov $0x3fd, %edx
    in %dx, %al
    test $1, %al
    jz 1b
    mov $0x3f8, %edx
    in %dx, %al
    # keeps it, and when it came
keep:
    mov %al, (%edi)
    rdtsc
    mov %eax, 4(%edi)
    add $8, %edi
    mov $2000, %ecx
2:  add %ecx, %esi
    loop 2b
    jmp 1b
_end:
