/* Preloaded into crossover: stops the process (SIGSTOP) when it has printed its CROSSOVER_STOP_AT'th line that tells of
 * a step (--debug). Who started it then does what is to go wrong at this step, and lets it go on, or kills it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

size_t fwrite(const void* bytes, size_t size, size_t count, FILE* file) {
  static size_t (*next)(const void*, size_t, size_t, FILE*);
  static atomic_int steps;
  if (next == NULL) *(void**)(&next) = dlsym(RTLD_NEXT, "fwrite");
  size_t const done = next(bytes, size, count, file);
  const char* const at = getenv("CROSSOVER_STOP_AT");
  if (at == NULL || file != stdout || memmem(bytes, size * count, " - debug: ", 10) == NULL) return done;
  if (atomic_fetch_add(&steps, 1) + 1 != atoi(at)) return done;
  fflush(file);
  kill(getpid(), SIGSTOP);
  return done;
}
