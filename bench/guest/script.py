"""What scripts do: strings, dictionaries, sorting, objects, calls. The argument says how much of it."""
import sys


class Word:
    def __init__(self, text):
        self.text = text
        self.count = 0

    def key(self):
        return (-self.count, self.text)


def words(amount):
    state = 1
    for _ in range(amount):
        state = (state * 1103515245 + 12345) % (1 << 31)
        yield "w" + str(state >> 16 & 2047)


def collatz(start):
    steps = 0
    while start != 1:
        start = start // 2 if start % 2 == 0 else 3 * start + 1
        steps += 1
    return steps


amount = int(sys.argv[1])
seen = {}
for text in words(amount):
    seen.setdefault(text, Word(text)).count += 1
for word in sorted(seen.values(), key=Word.key)[:20]:
    print(word.text, word.count)
print(max(collatz(n) for n in range(1, amount // 10 + 2)))
print(sum(ord(c) for c in "".join(sorted(" ".join(seen).upper()))))
