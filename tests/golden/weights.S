/* weights.bin: sha256 0123abcd */
    .section .rodata.mnv3c_weights, "a", %progbits
    .globl mnv3c_weights
    .hidden mnv3c_weights
    .type mnv3c_weights, %object
    .balign 64
mnv3c_weights:
    .incbin "weights.bin"
    .size mnv3c_weights, . - mnv3c_weights

    .section .note.GNU-stack, "", %progbits
