#!/bin/sh
# The guest's first process. The kernel's command line chooses what it does:
#   chronovisor.shell   a shell on the console; leaving it powers off
#   chronovisor.quiet   one line, then power off (benchmarks)
#   otherwise           a short tour, then power off
# A second archive appended to this one may bring /run.sh, which then runs instead.

export PATH=/bin HOME=/root TERM=linux PS1='guest# '
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
cd /root

finish() {
    poweroff -f
    # Not reached on a machine that can power off.
    while :; do sleep 60; done
}

command_line=" $(cat /proc/cmdline) "

if [ -e /run.sh ]; then
    sh /run.sh
    echo "run.sh ended with status $?"
    finish
fi

case $command_line in
*' chronovisor.quiet '*)
    echo 'chronovisor: init is running'
    finish
    ;;
*' chronovisor.shell '*)
    echo 'A shell in the guest. `exit` powers off; Ctrl-A H lists the keys of the console.'
    setsid cttyhack sh
    finish
    ;;
esac

show() {
    echo
    echo "guest# $*"
    sh -c "$*"
}

echo
echo '==== Hello from inside Chronovisor ===='
show 'uname -a'
show 'grep -m 5 -E "processor|vendor_id|model name|cpu MHz|flags" /proc/cpuinfo | cut -c 1-100'
show 'nproc'
show 'cat /sys/devices/system/clocksource/clocksource0/current_clocksource'
show 'date -u'
show 'free -m'
show 'ls /'
show 'cat /proc/interrupts'
show 'i=0; n=0; while [ $i -lt 2000 ]; do n=$(( (n * 31 + i) % 65521 )); i=$((i + 1)); done; echo "2000 rounds: $n"'
show 'seq 1 20000 | sort -r | md5sum'
show 'sleep 1; echo "slept: $(cat /proc/uptime)"'
show 'dmesg | wc -l'
show 'dmesg | grep -ciE "error|fail|warn|bug"'
echo
echo '==== Powering off ===='
finish
