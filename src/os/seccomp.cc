#include "os/seccomp.h"

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>

#include "base/fd.h"
#include "os/file.h"

namespace naru::os {

namespace {

using Context = std::unique_ptr<void, void (*)(scmp_filter_ctx)>;

Result<void> add(const Context& filter, const SeccompRule& rule) {
  const int number = ::seccomp_syscall_resolve_name(std::string(rule.call).c_str());
  if (number == __NR_SCMP_ERROR) return {};
  const std::uint32_t action =
      rule.error == 0 ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(static_cast<std::uint32_t>(rule.error));
  int result = 0;
  if (rule.argument < 0) {
    result = ::seccomp_rule_add(filter.get(), action, number, 0);
  } else {
    scmp_arg_cmp compare{};
    compare.arg = static_cast<unsigned>(rule.argument);
    compare.op = rule.compare == SeccompRule::Compare::equal       ? SCMP_CMP_EQ
                 : rule.compare == SeccompRule::Compare::not_equal ? SCMP_CMP_NE
                                                                   : SCMP_CMP_MASKED_EQ;
    compare.datum_a = rule.value;
    result = ::seccomp_rule_add_array(filter.get(), action, number, 1, &compare);
  }
  if (result != 0 && result != -EEXIST && result != -EDOM) {
    errno = -result;
    return fail_errno(Code::system, "seccomp rule for {}", rule.call);
  }
  return {};
}

Result<SeccompProgram> exported(const Context& filter) {
  const Fd file(::memfd_create("seccomp", MFD_CLOEXEC));
  if (!file) return fail_errno(Code::system, "memfd_create");
  if (const int result = ::seccomp_export_bpf(filter.get(), file.get()); result != 0) {
    errno = -result;
    return fail_errno(Code::system, "seccomp_export_bpf");
  }
  ::lseek(file.get(), 0, SEEK_SET);
  const std::string bytes =
      TRY(read_fd(file.get(), sizeof(sock_filter) * BPF_MAXINSNS, "the compiled filter"));
  SeccompProgram program(bytes.size() / sizeof(sock_filter));
  std::memcpy(program.data(), bytes.data(), program.size() * sizeof(sock_filter));
  return program;
}

#ifdef __x86_64__
// set_mempolicy_home_node, the newest in libseccomp 2.5.4's table. x32 numbers lie above 0x40000000.
constexpr std::uint32_t kNewestCall = 450;
void answer_enosys_for_newer_calls(SeccompProgram& program) {
  const SeccompProgram head = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 4),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, kNewestCall, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
  };
  program.insert(program.begin(), head.begin(), head.end());
}
#else
void answer_enosys_for_newer_calls(SeccompProgram&) {}
#endif

}  // namespace

Result<SeccompProgram> compile_seccomp(const SeccompProfile& profile) {
  const Context filter(::seccomp_init(SCMP_ACT_ERRNO(EPERM)), [](scmp_filter_ctx context) {
    if (context != nullptr) ::seccomp_release(context);
  });
  if (!filter) return fail(Code::system, "seccomp_init failed");
#ifdef __x86_64__
  for (const std::uint32_t other : {SCMP_ARCH_X86, SCMP_ARCH_X32})
    if (const int result = ::seccomp_arch_add(filter.get(), other); result != 0 && result != -EEXIST)
      return fail(Code::system, "seccomp_arch_add failed with {}", -result);
#endif
  ::seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_OPTIMIZE,
                     2);  // a binary tree: each call costs its filter on every use
  std::string_view names = profile.allowed;
  while (!names.empty()) {
    const auto begin = names.find_first_not_of(" \n");
    if (begin == std::string_view::npos) break;
    names.remove_prefix(begin);
    const auto end = std::min(names.find_first_of(" \n"), names.size());
    TRY(add(filter, {.call = names.substr(0, end)}));
    names.remove_prefix(end);
  }
  for (const SeccompRule& rule : profile.rules) TRY(add(filter, rule));
  SeccompProgram program = TRY(exported(filter));
  answer_enosys_for_newer_calls(program);
  return program;
}

}  // namespace naru::os
