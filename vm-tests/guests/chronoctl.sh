# What tests/chronoctl.rs has init run: every command of chronoctl, with its exit status where that is the point.
# The test stands for the host: it records what is asked for, but not in a file called refused.cvr.

status() {
    "$@" > /tmp/output 2>&1
    echo "status $?: $*"
}

chronoctl mark 'hello, größe'
echo "position: $(chronoctl position)"
chronoctl mark end

echo "before: $(chronoctl status)"
status chronoctl record start refused.cvr
echo "refused: $(chronoctl status)"
status chronoctl wait-recording 1
status chronoctl record start x.cvr
status chronoctl wait-recording 1
echo "started: $(chronoctl status)"
status chronoctl snapshot base
status chronoctl record stop
echo "stopped: $(chronoctl status)"

# One that waits does not keep another from asking.
chronoctl wait-recording &
waits=$!
sleep 1
chronoctl record start
wait $waits
echo "waited: $? $(chronoctl status)"

# Requests from many processes at once stay whole.
for number in 1 2 3 4 5 6 7 8; do
    chronoctl mark "parallel $number, and a text that is long enough for the others to come between" &
done
wait

status chronoctl --help
status chronoctl mark
status chronoctl mark ''
status chronoctl reboot
status chronoctl record start a b
status sh -c 'chronoctl position > /dev/full'
mkdir -p /etc
echo 'user:x:1000:1000::/:/bin/sh' > /etc/passwd
chmod 755 / /bin
status su user -c 'chronoctl status'
cat /tmp/output
