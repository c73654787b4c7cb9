/* Runs a fuzz target on files and on the files of folders: `fuzz_sql-replay tests/fuzz/corpus/sql`. Fails when there was none. */
#include "fuzz.h"
#include <dirent.h>
#include <string.h>

static unsigned n_run;
static void run_file(const char *path) {
  FILE *f = fopen(path, "rb");
  if (!f || fseek(f, 0, SEEK_END)) {
    perror(path);
    exit(1);
  }
  long n = ftell(f);
  rewind(f);
  uint8_t *bytes = malloc((size_t)n + !n); /* exactly as large, so that reading beyond the end is seen */
  must(bytes && fread(bytes, 1, (size_t)n, f) == (size_t)n);
  fclose(f);
  LLVMFuzzerTestOneInput(bytes, (size_t)n);
  free(bytes);
  n_run++;
}
int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    DIR *d = opendir(argv[i]);
    if (!d) {
      run_file(argv[i]);
      continue;
    }
    char path[4096];
    for (struct dirent *e; (e = readdir(d));) {
      if (e->d_name[0] == '.') continue;
      snprintf(path, sizeof path, "%s/%s", argv[i], e->d_name);
      run_file(path);
    }
    closedir(d);
  }
  printf("%u inputs\n", n_run);
  return n_run ? 0 : 1;
}
