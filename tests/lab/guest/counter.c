/* Counts on two disks: n to A, fsync, n to B, fsync, and again with n + 1.
 *
 * So whatever moment of both disks a copy holds, A == B or A == B + 1; anything else shows that the disks of the
 * copy are of different moments. The file is one line, written in place: n and the wall clock in milliseconds,
 * both with 20 digits. Once a second the console gets a line
 *     counter A=<n> B=<n> wall=<ms> mono=<ms> gap=<longest time between two counts since the last line, ms>
 * A single disk is counted alone (B stays 0).
 *
 * usage: counter FILE_A FILE_B INTERVAL_MS DIRTY_MIB_PER_SECOND */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE = 42, BLOCK = 65536, LOAD_BLOCKS = 256 };

static volatile sig_atomic_t stopped;

static void stop(int signal) {
    (void)signal;
    stopped = 1;
}

static uint64_t milliseconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

/* Opens a counter and reads the value it stopped at; -1 if there is no such disk. */
static int open_counter(const char *path, uint64_t *value) {
    char line[LINE + 1] = "";
    int fd = open(path, O_RDWR | O_CREAT, 0644);
    *value = 0;
    if (fd < 0) return -1;
    if (pread(fd, line, LINE, 0) > 0) *value = strtoull(line, NULL, 10);
    return fd;
}

static void write_counter(int fd, uint64_t value) {
    char line[LINE + 1];
    snprintf(line, sizeof line, "%020llu %020llu\n", (unsigned long long)value,
             (unsigned long long)milliseconds(CLOCK_REALTIME));
    if (pwrite(fd, line, LINE, 0) != LINE) fail("write");
    if (fsync(fd) != 0) fail("fsync");
}

/* Overwrites scattered blocks of a 16 MiB file, so that every diff has something to carry. */
static void dirty(int fd, uint64_t bytes) {
    static char block[BLOCK];
    for (; bytes >= BLOCK; bytes -= BLOCK) {
        memset(block, rand(), sizeof block);
        if (pwrite(fd, block, BLOCK, (off_t)(rand() % LOAD_BLOCKS) * BLOCK) != BLOCK) fail("write load");
    }
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    uint64_t interval = strtoull(argv[3], NULL, 10), load_rate = strtoull(argv[4], NULL, 10) << 20;
    uint64_t a, b, n;
    int file_a = open_counter(argv[1], &a), file_b = open_counter(argv[2], &b);
    int load = load_rate ? open("/mnt/a/load", O_RDWR | O_CREAT, 0644) : -1;
    if (file_a < 0) fail(argv[1]);
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGTERM, stop);
    printf("found counter A=%llu B=%llu\n", (unsigned long long)a, (unsigned long long)b);

    uint64_t last = milliseconds(CLOCK_MONOTONIC), told = last, loaded = last, gap = 0;
    for (n = (a > b ? a : b) + 1; !stopped; n++) {
        write_counter(file_a, a = n);
        if (file_b >= 0) write_counter(file_b, b = n);
        uint64_t now = milliseconds(CLOCK_MONOTONIC);
        if (now - last > gap) gap = now - last;
        last = now;
        if (load >= 0 && now - loaded >= 100) {
            dirty(load, load_rate * (now - loaded) / 1000);
            loaded = now;
        }
        if (now - told >= 1000 || stopped) {
            printf("counter A=%llu B=%llu wall=%llu mono=%llu gap=%llu\n", (unsigned long long)a, (unsigned long long)b,
                   (unsigned long long)milliseconds(CLOCK_REALTIME), (unsigned long long)now, (unsigned long long)gap);
            told = now;
            gap = 0;
        }
        usleep((useconds_t)interval * 1000);
    }
    printf("stopped counter A=%llu B=%llu\n", (unsigned long long)a, (unsigned long long)b);
    return 0;
}
