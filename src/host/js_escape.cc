/* Owns: the way out of V8 when V8 has none (spec/02 §13: scripts that mean harm end their call, never the server).
 *
 * Two things escape V8's own termination: memory that a built-in function cannot get, for which V8 ends the process, and built-in functions that loop for minutes
 * without looking whether they are to end (`Array.from({length: 1e9})`, `Array.prototype.indexOf.call({length: 2 ** 53 - 1}, 0)`). Both leave by a jump back to
 * where the server called in. Invariants: the isolate is never entered again by a script; out of memory V8's heap is whole, so it is closed as ever, whereas one that
 * was left in the midst of a loop is never touched again and its memory stays occupied; a jump by force happens only out of V8's own machine code, never out of the
 * server's or the C library's, whose locks would stay taken. V8 runs on one thread alone, so that no lock of its own is shared.
 */
#include "js_internal.hh"
#include <csignal>
#include <link.h>
#include <ucontext.h>

static thread_local js_isolate *running;
static uintptr_t code_start, code_end; /* of V8's library */

static int signal_number() { return SIGRTMIN + 3; }

static int find_code(dl_phdr_info *info, size_t, void *address) {
  uintptr_t wanted = reinterpret_cast<uintptr_t>(address);
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const auto &part = info->dlpi_phdr[i];
    uintptr_t start = info->dlpi_addr + part.p_vaddr;
    if (part.p_type != PT_LOAD || !(part.p_flags & PF_X) || wanted < start || wanted >= start + part.p_memsz) continue;
    code_start = start;
    code_end = start + part.p_memsz;
    return 1;
  }
  return 0;
}

static void on_signal(int, siginfo_t *, void *context) {
  js_isolate *js = running;
  if (!js || !js->forced.load(std::memory_order_relaxed)) return;
  const ucontext_t *at = static_cast<const ucontext_t *>(context);
#if defined(__x86_64__)
  uintptr_t pc = static_cast<uintptr_t>(at->uc_mcontext.gregs[REG_RIP]);
#elif defined(__aarch64__)
  uintptr_t pc = at->uc_mcontext.pc;
#else
#error "the program counter of this machine"
#endif
  if (pc < code_start || pc >= code_end) return; /* the watcher comes again */
  longjmp(js->escape, JS_ESCAPED_BY_FORCE);
}

void js_escape_start() {
  dl_iterate_phdr(find_code, reinterpret_cast<void *>(v8::V8::GetVersion));
  struct sigaction action = {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER; /* NODEFER: the jump leaves the mask as it was */
  sigaction(signal_number(), &action, nullptr);
}
void js_escape_enter(js_isolate *js) {
  js->thread = pthread_self();
  running = js;
}
void js_escape_leave() { running = nullptr; }

void js_out_of_memory(const char *, bool) {
  if (!running) return; /* V8 ends the process */
  running->heap_full = true;
  longjmp(running->escape, JS_ESCAPED_WITHOUT_MEMORY);
}

void js_escape_by_force(js_isolate *js) {
  js->forced = true;
  pthread_kill(js->thread, signal_number());
}
