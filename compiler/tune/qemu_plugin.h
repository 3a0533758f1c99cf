/* The part of QEMU's plugin interface that block_counts.c uses, the same in its versions 1 (QEMU 4.2 to 8.0) and 2. */
#ifndef MNV3C_QEMU_PLUGIN_H
#define MNV3C_QEMU_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_info;
struct qemu_plugin_tb;

enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };

typedef void qemu_plugin_translated_t(qemu_plugin_id_t id, struct qemu_plugin_tb* block);
typedef void qemu_plugin_executed_t(unsigned cpu, void* user);
typedef void qemu_plugin_syscall_t(qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2,
                                   uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8);
typedef void qemu_plugin_exit_t(qemu_plugin_id_t id, void* user);

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb* block);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb* block);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, qemu_plugin_translated_t* call);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb* block, qemu_plugin_executed_t* call,
                                          enum qemu_plugin_cb_flags flags, void* user);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t id, qemu_plugin_syscall_t* call);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, qemu_plugin_exit_t* call, void* user);

#endif
