import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Random;
import org.apache.kafka.common.utils.Utils;

/**
 * Prints what Kafka's Java client makes of keys: hex of the key, murmur2 as a signed number, and the partition of 24.
 * murmur2.txt beside this file was printed by it with kafka-clients 4.3.0:
 *   java -cp kafka-clients-4.3.0.jar Murmur2Vectors.java >murmur2.txt
 */
class Murmur2Vectors {
    public static void main(String[] args) {
        List<byte[]> keys = new ArrayList<>();
        for (String s : new String[] {"", "a", "ab", "abc", "abcd", "abcde", "21", "foobar", "acme/+436601234567", "größe", "日本語"}) {
            keys.add(s.getBytes(StandardCharsets.UTF_8));
        }
        Random random = new Random(1);
        for (int length = 0; length < 64; length++) {
            for (int n = 0; n < 4; n++) {
                byte[] key = new byte[length];
                random.nextBytes(key);
                keys.add(key);
            }
        }
        for (byte[] key : keys) {
            int hash = Utils.murmur2(key);
            System.out.println(HexFormat.of().formatHex(key) + " " + hash + " " + Utils.toPositive(hash) % 24);
        }
    }
}
