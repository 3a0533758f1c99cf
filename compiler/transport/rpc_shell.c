/* A TVM RPC server loads this library, and can then run a shell script that was uploaded into its folder.
 *
 * The server's working folder is the session's, where uploads lie. No argument is read and no object is made, so the
 * library needs nothing of TVM.
 */
#include <stdlib.h>

#include "tvm_abi.h"

enum { TVM_FFI_INT = 1 };

int32_t __tvm_ffi_mnv3c_shell(void* self, const TVMFFIAny* arguments, int32_t count, TVMFFIAny* result);
int32_t __tvm_ffi_mnv3c_shell(void* self, const TVMFFIAny* arguments, int32_t count, TVMFFIAny* result)
{
    (void)self;
    (void)arguments;
    (void)count;
    result->type_index = TVM_FFI_INT;
    result->value.integer = system("sh ./mnv3c-script >./mnv3c-stdout 2>./mnv3c-stderr </dev/null");
    return 0;
}
