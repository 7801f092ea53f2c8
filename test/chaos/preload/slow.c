// Preloaded into PostgreSQL: fsync and fdatasync take as much longer as a file says,
// in microseconds, eight bytes in the machine's order. Zero: not at all.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *delay;
static int (*real_fsync)(int), (*real_fdatasync)(int);

__attribute__((constructor)) static void begin(void) {
	real_fsync = dlsym(RTLD_NEXT, "fsync");
	real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
	const char *name = getenv("WRIT_CHAOS_FSYNC");
	int fd = name ? open(name, O_RDONLY) : -1;
	if (fd < 0)
		return;
	void *page = mmap(NULL, sizeof *delay, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (page != MAP_FAILED)
		delay = page;
}

static void linger(void) {
	int64_t us = delay ? *delay : 0;
	if (us > 0) {
		struct timespec t = {us / 1000000, us % 1000000 * 1000};
		nanosleep(&t, NULL);
	}
}

int fsync(int fd) {
	linger();
	return real_fsync(fd);
}

int fdatasync(int fd) {
	linger();
	return real_fdatasync(fd);
}
