"""Signs or verifies a folder of messages with libopendkim: opendkim.py sign|verify FOLDER.

`measure` verifies them, and says how many microseconds of processor time one takes.
"""

import ctypes
import os
import sys
import time
from ctypes import POINTER, byref, c_bool, c_char_p, c_int, c_size_t, c_ssize_t, c_uint, c_void_p

# From dkim.h.
SETOPT, QUERYMETHOD, QUERYINFO, QUERY_FILE = 1, 6, 7, 1
RSASHA256, ED25519SHA256, PASSED = 1, 2, 4
FORMS = [(1, 1), (0, 0), (1, 0), (0, 1)]

lib = ctypes.CDLL("libopendkim.so.11")
for name, result, arguments in [
    ("dkim_init", c_void_p, [c_void_p, c_void_p]),
    ("dkim_options", c_int, [c_void_p, c_int, c_int, c_void_p, c_size_t]),
    ("dkim_sign", c_void_p, [c_void_p, c_char_p, c_void_p, c_char_p, c_char_p, c_char_p,
                             c_int, c_int, c_int, c_ssize_t, POINTER(c_int)]),
    ("dkim_verify", c_void_p, [c_void_p, c_char_p, c_void_p, POINTER(c_int)]),
    ("dkim_chunk", c_int, [c_void_p, c_char_p, c_size_t]),
    ("dkim_eom", c_int, [c_void_p, POINTER(c_bool)]),
    ("dkim_getsighdr_d", c_int, [c_void_p, c_size_t, POINTER(c_char_p), POINTER(c_size_t)]),
    ("dkim_getsiglist", c_int, [c_void_p, POINTER(POINTER(c_void_p)), POINTER(c_int)]),
    ("dkim_sig_process", c_int, [c_void_p, c_void_p]),
    ("dkim_sig_getflags", c_uint, [c_void_p]),
    ("dkim_sig_getbh", c_int, [c_void_p]),
    ("dkim_free", c_int, [c_void_p]),
]:
    function = getattr(lib, name)
    function.restype, function.argtypes = result, arguments


def read(*path):
    with open(os.path.join(*path), "rb") as file:
        return file.read()


def push(handle, message):
    lib.dkim_chunk(handle, message, len(message))
    lib.dkim_chunk(handle, None, 0)


def sign(library, folder, name, message, rsa, ed25519):
    number, status = int(name), c_int()
    second = number % 8 >= 4
    header, body = FORMS[number % 4]
    if second:
        header = 1
    handle = lib.dkim_sign(
        library, b"x", None, ed25519 if second else rsa, b"e" if second else b"r",
        b"example.org", header, body, ED25519SHA256 if second else RSASHA256, -1, byref(status))
    assert handle, status
    push(handle, message)
    result = lib.dkim_eom(handle, None)
    assert result == 0, result
    value, length = c_char_p(), c_size_t()
    lib.dkim_getsighdr_d(handle, 16, byref(value), byref(length))
    with open(os.path.join(folder, "out", name), "wb") as file:
        file.write(b"DKIM-Signature: " + value.value + b"\r\n" + message)
    lib.dkim_free(handle)


def verdicts_of(library, message):
    status = c_int()
    handle = lib.dkim_verify(library, b"x", None, byref(status))
    push(handle, message)
    lib.dkim_eom(handle, None)
    signatures, count = POINTER(c_void_p)(), c_int()
    lib.dkim_getsiglist(handle, byref(signatures), byref(count))
    verdicts = ""
    for index in range(count.value):
        signature = signatures[index]
        # The end of a message stops at the first that holds.
        lib.dkim_sig_process(handle, signature)
        holds = lib.dkim_sig_getflags(signature) & PASSED and lib.dkim_sig_getbh(signature) == 0
        verdicts += "1" if holds else "0"
    lib.dkim_free(handle)
    return verdicts


def measure(library, messages):
    begun = time.process_time()
    for message in messages:
        verdicts = verdicts_of(library, message)
        assert verdicts and "0" not in verdicts, verdicts
    print((time.process_time() - begun) * 1e6 / len(messages))


def main(task, folder):
    library = lib.dkim_init(None, None)
    method = c_int(QUERY_FILE)
    lib.dkim_options(library, SETOPT, QUERYMETHOD, byref(method), ctypes.sizeof(method))
    path = ctypes.create_string_buffer(os.path.join(folder, "keys").encode())
    lib.dkim_options(library, SETOPT, QUERYINFO, path, len(path))
    rsa, ed25519 = read(folder, "rsa.pem"), read(folder, "ed25519.pem")
    names = sorted(os.listdir(os.path.join(folder, "in")))
    if task == "measure":
        return measure(library, [read(folder, "in", name) for name in names])
    for name in names:
        message = read(folder, "in", name)
        if task == "sign":
            sign(library, folder, name, message, rsa, ed25519)
        else:
            print(name, verdicts_of(library, message))


main(*sys.argv[1:])
