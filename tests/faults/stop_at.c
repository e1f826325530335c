/* Preloaded into crossover: stops the process (SIGSTOP) when it has printed its CROSSOVER_STOP_AT'th line that tells of
 * a step (--debug), or that has CROSSOVER_STOP_TEXT in it. Who started it then does what is to go wrong there, and lets it
 * go on, or kills it. */
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
  const char* const given = getenv("CROSSOVER_STOP_TEXT");
  const char* const text = given == NULL ? " - debug: " : given;
  if (at == NULL || file != stdout || memmem(bytes, size * count, text, strlen(text)) == NULL) return done;
  if (atomic_fetch_add(&steps, 1) + 1 != atoi(at)) return done;
  fflush(file);
  kill(getpid(), SIGSTOP);
  return done;
}
