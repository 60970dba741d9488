// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Takes memory and uses all of it, over and over, until SIGTERM: what does not fit is swapped out. Every word
 * is what it was when it comes back, or the status is 1.
 *
 *   memory-hog MIB READY-FILE    READY-FILE appears when all of it was written once
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static volatile sig_atomic_t stop;

static void on_term(int number)
{
	(void)number;
	stop = 1;
}

/* Nothing that compresses, and different in each round. */
static uint64_t content(uint64_t index, uint64_t round)
{
	uint64_t x = index * 0x9e3779b97f4a7c15u + round * 0xbf58476d1ce4e5b9u;

	x ^= x >> 31;
	x *= 0x94d049bb133111ebu;
	return x ^ x >> 29;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_term };
	/* a few words of each page are enough to have it swapped */
	const size_t step = 512 / sizeof(uint64_t);
	size_t bytes, count, i;
	uint64_t *words, round;
	int fd;

	if (argc != 3 || (bytes = strtoul(argv[1], NULL, 10) << 20) == 0) {
		fprintf(stderr, "usage: memory-hog MIB READY-FILE\n");
		return 2;
	}
	sigaction(SIGTERM, &action, NULL);
	words = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (words == MAP_FAILED) {
		fprintf(stderr, "memory-hog: cannot get %s MiB: %s\n", argv[1], strerror(errno));
		return 2;
	}
	count = bytes / sizeof(*words);
	for (i = 0; i < count && !stop; i += step)
		words[i] = content(i, 0);
	fd = open(argv[2], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0) {
		fprintf(stderr, "memory-hog: cannot make %s: %s\n", argv[2], strerror(errno));
		return 2;
	}
	close(fd);
	for (round = 0; !stop; round++)
		for (i = 0; i < count && !stop; i += step) {
			if (words[i] != content(i, round)) {
				printf("memory-hog: word %zu of round %llu is not what it was\n", i,
				       (unsigned long long)round);
				return 1;
			}
			words[i] = content(i, round + 1);
		}
	printf("memory-hog: %llu rounds\n", (unsigned long long)round);
	return 0;
}
