import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Base64;
import java.util.Map;

/** Verifies each line of standard input, whose fields are separated by tabs, and prints "valid" or "refused". */
final class Harness {
    public static void main(String[] args) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] f = line.split("\t", -1);
            Map<String, String> headers = Map.of("webhook-id", f[1], "webhook-timestamp", f[2], "webhook-signature", f[3]);
            System.out.println(Signature.verify(f[0], headers, Base64.getDecoder().decode(f[4])) ? "valid" : "refused");
        }
    }
}
