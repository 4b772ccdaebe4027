"""Describes the extension `aiod.native._nftables` to cffi (API mode): libnftables.

Apart from `_native`, so that no shim has that library and those that it needs in its memory.
Source: libnftables(3).
"""

from cffi import FFI

ffi = FFI()
ffi.cdef(
    """
    struct nft_ctx;
    struct nft_ctx *nft_ctx_new(uint32_t flags);
    void nft_ctx_free(struct nft_ctx *ctx);
    int nft_ctx_buffer_output(struct nft_ctx *ctx);
    const char *nft_ctx_get_output_buffer(struct nft_ctx *ctx);
    int nft_ctx_buffer_error(struct nft_ctx *ctx);
    const char *nft_ctx_get_error_buffer(struct nft_ctx *ctx);
    int nft_run_cmd_from_buffer(struct nft_ctx *nft, const char *buf);
    """
)
ffi.set_source(
    "aiod.native._nftables",
    "#include <stdint.h>\n#include <nftables/libnftables.h>\n",
    libraries=["nftables"],
)

if __name__ == "__main__":
    ffi.compile(verbose=True)
