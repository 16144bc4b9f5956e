# The work of the benchmarks, the same inside a guest (as /run.sh, which init starts) and natively on the host.
#
#   BENCH       what to do: small, real, busy, churn, idle, several
#   SCALE       how much of it, in percent (default 100)
#   COPIES      with `several`: programs at the same time
#   SUITE       the directory of the suite (default /suite)
#
# Inside a guest these come from the kernel's command line: what the kernel does not know, init gets as its
# environment. The lines START and END on standard output are timed from outside.

suite=${SUITE:-/suite}
scale=${SCALE:-100}

program() {
    rounds=$(($2 * scale / 100))
    "$suite/suite" "$1" $((rounds > 0 ? rounds : 1))
}

small() {
    program integer 150
    program qsort 12
    program chase 20
    program memcpy 250
    program nbody 120
    program simd 600
    program getppid 250
    program fork 40
    program mmap 40
    program pipe 100
}

# Debian's own binary with Debian's own libraries, here and there.
debian() {
    name=$1
    shift
    "$suite/lib/ld-linux-x86-64.so.2" --library-path "$suite/lib" "$suite/bin/$name" "$@"
}

# $1 its name, $2 the function that runs it: its output's hash is the checksum.
real_program() {
    "$suite/suite" mark START "$1"
    sum=$("$2" | sha256sum | cut -c 1-16)
    "$suite/suite" mark END "$1" "$sum"
}

compress() {
    head -c $((9000 * scale)) "$suite/lib/libc.so.6" | debian xz -6 -T1 -c
}

query() {
    { echo ".parameter set :rows $((1000 * scale))"; cat "$suite/query.sql"; } | debian sqlite3 -batch :memory:
}

script() {
    PYTHONHOME=$suite PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1 \
        debian python3 -S -s "$suite/script.py" $((2000 * scale))
}

real() {
    real_program xz compress
    real_program sqlite3 query
    real_program python3 script
}

# Several programs at once; how they share the CPUs is the guest's affair.
several() {
    "$suite/suite" mark START several
    started=0
    while [ $started -lt "$COPIES" ]; do
        "$suite/suite" integer $((10 * scale)) > "/tmp/several.$started" &
        started=$((started + 1))
    done
    wait
    "$suite/suite" mark END several "$(cat /tmp/several.* | grep END | sort -u | cut -d ' ' -f 3 | tr '\n' ' ')"
}

# Never ends: processes, pipes, sorting, fresh memory, arithmetic. For recordings that are stopped from outside.
churn() {
    "$suite/suite" mark START churn
    while :; do
        seq 1 20000 | sort -r | md5sum
        program qsort 1
        program mmap 1
        program nbody 5
    done > /dev/null
}

# Never ends: a guest that has nothing to do but its kernel's ticks.
idle() {
    "$suite/suite" mark START idle
    while :; do sleep 3600; done
}

case $BENCH in
small | real | several | churn | idle) "$BENCH" ;;
busy) program integer 3000 ;;
*) echo "run.sh: BENCH=$BENCH is none of small, real, busy, churn, idle, several" && exit 2 ;;
esac
