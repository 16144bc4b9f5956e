# Ordinary commands, run in the guest as /run.sh; the test looks for what they print.
echo "cpus: $(nproc)"
echo "machine: $(uname -m)"
echo "year: $(date -u +%Y)"
echo "sorted: $(seq 1 3000 | sort -r | md5sum)"
i=0; n=0
while [ $i -lt 1000 ]; do n=$(( (n * 31 + i) % 65521 )); i=$((i + 1)); done
echo "rounds: $n"
echo "roots: $(awk 'BEGIN { for (i = 1; i <= 2000; i++) x += sqrt(i) * sin(i); printf "%.6f", x }')"
mkdir -p /tmp/a/b
seq 1 500 > /tmp/a/b/numbers
echo "archive: $(tar c -C /tmp a | gzip | gunzip | tar t | wc -l)"
echo "sha: $(dd if=/dev/zero bs=64k count=8 2>/dev/null | sha256sum)"
echo "grep: $(grep -c 7 /tmp/a/b/numbers)"
# Processes side by side.
for job in 1 2 3 4; do
    (j=0; while [ $j -lt 300 ]; do j=$((j + 1)); done; echo "$job" > /tmp/job.$job) &
done
wait
echo "jobs: $(cat /tmp/job.* | tr '\n' ' ')"
sleep 0.1
echo "slept"
/program32
echo "program32 ended with $?"
sh -c 'kill -SEGV $$' 2>/dev/null
echo "killed: $?"
