"""Signs or verifies a folder of messages with dkimpy: dkimpy.py sign|verify FOLDER."""

import base64
import os
import sys

import dkim

# Forms and algorithms by the number of the message.
FORMS = [(b"relaxed", b"relaxed"), (b"simple", b"simple"),
         (b"relaxed", b"simple"), (b"simple", b"relaxed")]


def read(*path):
    with open(os.path.join(*path), "rb") as file:
        return file.read()


def main(task, folder):
    lines = read(folder, "keys").splitlines()
    keys = dict(line.split(b" ", 1) for line in lines)
    rsa = read(folder, "rsa.pem")
    # The seed stands at the end of a PKCS#8 Ed25519 key.
    pem = b"".join(read(folder, "ed25519.pem").splitlines()[1:-1])
    seed = base64.b64encode(base64.b64decode(pem)[-32:])
    for name in sorted(os.listdir(os.path.join(folder, "in"))):
        message = read(folder, "in", name)
        try:
            checker = dkim.DKIM(message)
        except (dkim.DKIMException, IndexError):
            # A header block that it cannot read.
            print(name, "")
            continue
        if task == "sign":
            number = int(name)
            ed25519 = number % 8 >= 4
            field = checker.sign(
                b"e" if ed25519 else b"r", b"example.org", seed if ed25519 else rsa,
                signature_algorithm=b"ed25519-sha256" if ed25519 else b"rsa-sha256",
                canonicalize=FORMS[number % 4])
            with open(os.path.join(folder, "out", name), "wb") as file:
                file.write(field + message)
            continue
        count = sum(1 for field, _ in checker.headers if field.lower() == b"dkim-signature")
        verdicts = ""
        for index in range(count):
            try:
                holds = checker.verify(
                    idx=index, dnsfunc=lambda name, timeout=5: keys.get(name.rstrip(b".")))
            except Exception:
                # What it cannot read, it refuses with more types than its own.
                holds = False
            verdicts += "1" if holds else "0"
        print(name, verdicts)


main(*sys.argv[1:])
