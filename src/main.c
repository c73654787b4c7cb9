/* The one binary: server and command line. */
#include "cli/cli.h"

int main(int argc, char **argv) { return lc_cli_main(argc, argv); }
