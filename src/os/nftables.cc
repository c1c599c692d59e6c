#include "os/nftables.h"

#include <nftables/libnftables.h>

namespace naru::os {

Result<std::string> run_nftables(const std::string& ruleset) {
  const std::unique_ptr<nft_ctx, decltype(&nft_ctx_free)> context(nft_ctx_new(NFT_CTX_DEFAULT),
                                                                  &nft_ctx_free);
  if (!context) return fail(Code::system, "nftables: no context could be made (out of memory?)");
  nft_ctx_buffer_output(context.get());
  nft_ctx_buffer_error(context.get());
  if (nft_run_cmd_from_buffer(context.get(), ruleset.c_str()) != 0) {
    const char* said = nft_ctx_get_error_buffer(context.get());
    std::string text(said != nullptr ? said : "");
    if (text.size() > 2000) text.resize(2000);
    auto error = fail(Code::system, "nftables refused the rules: {}", text);
    return error;
  }
  const char* output = nft_ctx_get_output_buffer(context.get());
  return std::string(output != nullptr ? output : "");
}

}  // namespace naru::os
