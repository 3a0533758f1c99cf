/* A plugin for QEMU that counts how often a program runs each of its basic blocks between two marks.
 *
 * A mark is a system call that does nothing else, made by call_once.c. What comes out when the program ends, on QEMU's
 * standard output: one line `block ADDRESS INSTRUCTIONS EXECUTIONS` for each block that ran.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "qemu_plugin.h"

#define EXPORTED __attribute__((visibility("default")))

enum { MARK = 173 /* getppid on arm64 */ };

typedef struct Block {
    struct Block* next;
    uint64_t address, instructions, executions, counted;
} Block;

typedef struct {
    Block* blocks;
    int marks;
} Counts;

/* QEMU hands nothing of ours to the calls below except where a block is executed. */
static Counts counts;

EXPORTED int qemu_plugin_version = PLUGIN_VERSION;

static void executed(unsigned cpu, void* user)
{
    (void)cpu;
    ++((Block*)user)->executions;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb* translation)
{
    (void)id;
    Block* block = calloc(1, sizeof *block);
    if (block == NULL)
        abort();
    block->address = qemu_plugin_tb_vaddr(translation);
    block->instructions = qemu_plugin_tb_n_insns(translation);
    block->next = counts.blocks;
    counts.blocks = block;
    qemu_plugin_register_vcpu_tb_exec_cb(translation, executed, QEMU_PLUGIN_CB_NO_REGS, block);
}

static void marked(qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3,
                   uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)id, (void)cpu, (void)a1, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number != MARK || ++counts.marks > 2)
        return;
    for (Block* block = counts.blocks; block != NULL; block = block->next) {
        block->counted = block->executions;
        block->executions = 0;
    }
}

static void ended(qemu_plugin_id_t id, void* user)
{
    (void)id, (void)user;
    for (const Block* block = counts.blocks; counts.marks >= 2 && block != NULL; block = block->next)
        if (block->counted > 0)
            printf("block %" PRIx64 " %" PRIu64 " %" PRIu64 "\n", block->address, block->instructions, block->counted);
    fflush(stdout);
}

EXPORTED int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info* info, int count, char** arguments)
{
    (void)info, (void)count, (void)arguments;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, marked);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
