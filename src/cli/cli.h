/* The face of cli/: the command line (spec/04 §7, spec/07 §15). Called by src/main.c only; depends on every lower folder's face. */
#ifndef LC_CLI_H
#define LC_CLI_H

/* Runs one command. Returns the process's exit code: 0 success, 1 failure (`Error: …` was written to stderr), 2 wrong usage. */
int lc_cli_main(int argc, char **argv);

#endif
