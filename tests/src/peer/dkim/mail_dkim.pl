# Signs or verifies a folder of messages with Mail::DKIM: mail_dkim.pl sign|verify FOLDER.
# This version knows RSA only.

use strict;
use warnings;

use Crypt::OpenSSL::RSA;
use Mail::DKIM::DNS;
use Mail::DKIM::PrivateKey;
use Mail::DKIM::Signer;
use Mail::DKIM::Verifier;
use Net::DNS;

my ($task, $folder) = @ARGV;
my @forms = ('relaxed/relaxed', 'simple/simple', 'relaxed/simple', 'simple/relaxed');

sub slurp {
    my ($path) = @_;
    open my $file, '<:raw', $path or die "$path: $!";
    local $/;
    return scalar <$file>;
}

my %keys = map { split / /, $_, 2 } split /\n/, slurp("$folder/keys");
{
    no warnings 'redefine';
    *Mail::DKIM::DNS::query = sub {
        my ($name, $type) = @_;
        return unless defined $keys{$name};
        my @strings = $keys{$name} =~ /(.{1,255})/g;
        return Net::DNS::RR->new(owner => $name, type => 'TXT', txtdata => \@strings);
    };
}
my $key = Crypt::OpenSSL::RSA->new_private_key(slurp("$folder/rsa.pem"));

opendir my $in, "$folder/in" or die "$folder/in: $!";
for my $name (sort grep { !/^\./ } readdir $in) {
    my $message = slurp("$folder/in/$name");
    if ($task eq 'sign') {
        my $signer = Mail::DKIM::Signer->new(
            Algorithm => 'rsa-sha256',
            Method    => $forms[$name % 4],
            Domain    => 'example.org',
            Selector  => 'r',
            Key       => Mail::DKIM::PrivateKey->load(Cork => $key),
        );
        $signer->PRINT($message);
        $signer->CLOSE;
        open my $out, '>:raw', "$folder/out/$name" or die "$folder/out/$name: $!";
        print {$out} $signer->signature->as_string, "\r\n", $message;
        close $out;
        next;
    }
    my $verifier = Mail::DKIM::Verifier->new;
    $verifier->PRINT($message);
    $verifier->CLOSE;
    my @verdicts = map { $_->result eq 'pass' ? 1 : 0 } $verifier->signatures;
    print "$name ", join('', @verdicts), "\n";
}
