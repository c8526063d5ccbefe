/* A plugin of the emulator that counts the instructions a program executes: a figure that doesn't depend on how busy the host is.
 *
 * The program sets a mark K (0 to 65535) by the system call getpgid(-1000000 - K), which has no other effect than to fail. Each mark is a line
 * on standard error: "instructions K N", N since the program began.
 *
 * Build: cc -O2 -fPIC -shared counter.c -o counter.so     Use: QEMU_PLUGIN=counter.so qemu-aarch64 ...
 *
 * QEMU's header for plugins comes with no Debian package. What is used of the interface is declared here, as its documentation states it
 * (docs/devel/tcg-plugins.rst); none of it changed between versions 1 and 4, but for the number. A block is counted by a call when it is
 * executed: as fast as the inlined addition, which did change. */
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define VISIBLE __attribute__((visibility("default")))

typedef uint64_t plugin_id;
typedef void translated(plugin_id id, void *block);
typedef void executed(unsigned cpu, void *data);
typedef void called(plugin_id id, unsigned cpu, int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f, uint64_t g,
                    uint64_t h);

extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, translated *callback);
extern void qemu_plugin_register_vcpu_tb_exec_cb(void *block, executed *callback, int flags, void *data);
extern void qemu_plugin_register_vcpu_syscall_cb(plugin_id id, called *callback);
extern size_t qemu_plugin_tb_n_insns(const void *block);
/* since version 2, which is also the oldest that such an emulator takes */
extern void *qemu_plugin_scoreboard_new(size_t size) __attribute__((weak));

enum { AARCH64_GETPGID = 155, TOUCHES_NO_REGISTERS = 0, MARKS = 65536 };
static const int64_t FIRST_MARK = -1000000;

VISIBLE int qemu_plugin_version = 1;

static uint64_t instructions;

/* before the emulator reads the version */
__attribute__((constructor)) static void choose_version(void) {
    if (qemu_plugin_scoreboard_new) qemu_plugin_version = 2;
}

static void on_block(unsigned cpu, void *count) {
    (void)cpu;
    __atomic_fetch_add(&instructions, (uint64_t)(uintptr_t)count, __ATOMIC_RELAXED); /* a program may have several threads */
}

static void on_translated(plugin_id id, void *block) {
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_cb(block, on_block, TOUCHES_NO_REGISTERS, (void *)(uintptr_t)qemu_plugin_tb_n_insns(block));
}

static void on_call(plugin_id id, unsigned cpu, int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f, uint64_t g,
                    uint64_t h) {
    (void)id, (void)cpu, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
    int64_t mark = FIRST_MARK - (int32_t)a;
    if (number == AARCH64_GETPGID && mark >= 0 && mark < MARKS)
        fprintf(stderr, "instructions %" PRId64 " %" PRIu64 "\n", mark, __atomic_load_n(&instructions, __ATOMIC_RELAXED));
}

VISIBLE int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
    (void)info, (void)argc, (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translated);
    qemu_plugin_register_vcpu_syscall_cb(id, on_call);
    return 0;
}
