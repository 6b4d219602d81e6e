package script

const machine = 183 // EM_AARCH64
