/* Building modules in TypeScript (spec/04 §8.2, spec/02 §14): the project's own compiler checks the types, esbuild makes one file of src/index.ts.
 *
 * Syntax newer than the server's V8 is lowered on the way (BUNDLE_TARGET), which modules that were bundled elsewhere do without: they bring theirs already lowered by
 * the library. The bundler is the project's own esbuild if it has one; otherwise one of a fixed version, which npm puts into the user's cache the first time.
 * Caller: build.c.
 */
#include "build.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ESBUILD_VERSION "0.25.12"
#define BUNDLE_TARGET "chrome102" /* V8 10.2 */

/* node_modules/.bin/NAME of the project or of a folder above it, where workspaces have theirs; NULL: there is none. */
static char *project_tool(const char *dir, const char *name) {
  char *at = realpath(dir, NULL), *found = NULL;
  while (at && *at && !found) {
    found = lc_cli_format("%s/node_modules/.bin/%s", at, name);
    if (access(found, X_OK) == 0) break;
    lc_free(found);
    found = NULL;
    *strrchr(at, '/') = 0;
  }
  free(at);
  return found;
}

static bool make_dirs(char *path) {
  for (char *p = path + 1; *p; p++) {
    if (*p != '/') continue;
    *p = 0;
    bool ok = mkdir(path, 0777) == 0 || errno == EEXIST;
    *p = '/';
    if (!ok) return false;
  }
  return mkdir(path, 0777) == 0 || errno == EEXIST;
}

/* The bundler in the user's cache, put there if it is missing; NULL: the error says why not. */
static char *cached_bundler(struct lc_cli *cli) {
  static char npm[] = "npm", install[] = "install", prefix[] = "--prefix", no_audit[] = "--no-audit", no_fund[] = "--no-fund", quiet[] = "--loglevel=error", package[] = "esbuild@" ESBUILD_VERSION;
  char *base = lc_cli_user_dir("XDG_CACHE_HOME", ".cache"), *dir = lc_cli_format("%s/esbuild-" ESBUILD_VERSION, base), *tool = lc_cli_format("%s/node_modules/.bin/esbuild", dir);
  char *part = lc_cli_format("%s.part.%d", dir, (int)getpid()); /* complete or not there: two builds may come together */
  char *argv[] = {npm, install, prefix, part, no_audit, no_fund, quiet, package, NULL};
  int code = 0;
  if (access(tool, X_OK) != 0) {
    puts("Installing the bundler esbuild " ESBUILD_VERSION);
    code = make_dirs(part) ? lc_cli_spawn(part, argv, NULL) : -2;
    if (code == 0 && rename(part, dir) != 0 && access(tool, X_OK) != 0) code = -2;
    if (code == -2) lc_cli_fail(cli, "failed to make `%s`: %m", dir);
    else if (code < 0) lc_cli_fail(cli, "could not run npm: is Node.js installed?");
    else if (code > 0) lc_cli_fail(cli, "npm could not install esbuild " ESBUILD_VERSION " (exit code %d); a project with esbuild among its own packages needs none", code);
  }
  lc_free(base);
  lc_free(dir);
  lc_free(part);
  if (code == 0) return tool;
  lc_free(tool);
  return NULL;
}

/* The bundle talks to one major version of the host's interface. */
static int check_interface(struct lc_cli *cli, const char *path) {
  static const char prefix[] = "spacetime:sys@";
  struct lc_buf text = {0};
  unsigned long major = 0;
  int rc = 0;
  if (!lc_cli_read_file(cli, path, &text)) return 1;
  lc_buf_u8(&text, 0);
  for (const char *p = (const char *)text.data; rc == 0 && (p = strstr(p, prefix));) {
    p += sizeof prefix - 1;
    unsigned long found = strtoul(p, NULL, 10);
    if (found && major && found != major) rc = lc_cli_fail(cli, "the bundle imports two versions of the host's interface, spacetime:sys@%lu and @%lu: two versions of the package spacetimedb are in it (`npm ls spacetimedb` shows which)", major, found);
    if (found) major = found;
  }
  if (rc == 0 && !major) rc = lc_cli_fail(cli, "the bundle is no module: src/index.ts imports nothing of `spacetimedb/server`");
  lc_buf_free(&text);
  return rc;
}

int lc_cli_build_typescript(struct lc_cli *cli, const char *dir, const char *options, char **path) {
  static char no_emit[] = "--noEmit", entry[] = "src/index.ts", bundle[] = "--bundle", format[] = "--format=esm", platform[] = "--platform=browser", target[] = "--target=" BUNDLE_TARGET, external[] = "--external:spacetime:*",
              map[] = "--sourcemap=inline", level[] = "--log-level=warning", out[] = "--outfile=dist/bundle.js";
  char *tsc = project_tool(dir, "tsc");
  if (!tsc) return lc_cli_fail(cli, "no TypeScript compiler in %s/node_modules: install the project's packages (`npm install`)", dir);
  char *check[] = {tsc, no_emit, NULL};
  int code = lc_cli_spawn(dir, check, NULL);
  lc_free(tsc);
  if (code < 0) return lc_cli_fail(cli, "could not run tsc: is Node.js installed?");
  if (code > 0) return code; /* it has said why */
  char *bundler = project_tool(dir, "esbuild");
  if (!bundler && !(bundler = cached_bundler(cli))) return 1;
  char *argv[LC_CLI_SPAWN_MAX_ARGUMENTS] = {bundler, entry, bundle, format, platform, target, external, map, level, out};
  int n = 10;
  char *words = lc_cli_add_words(options, argv, &n);
  code = lc_cli_spawn(dir, argv, NULL);
  lc_free(words);
  lc_free(bundler);
  if (code < 0) return lc_cli_fail(cli, "could not run esbuild");
  if (code > 0) return lc_cli_fail(cli, "esbuild exited with code %d", code);
  *path = lc_cli_format("%s/dist/bundle.js", dir);
  return check_interface(cli, *path);
}
