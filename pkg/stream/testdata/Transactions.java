import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Writes transactions that are committed, aborted and open into partition 0 of a topic, and prints what the Java
 * consumer reads of it, read committed: one line "offset value" for each record, then "end offset". It does so once
 * while a transaction is open, and, after a line on standard input, once more when that was aborted.
 * Run: java -cp 'KAFKA/*' Transactions.java BOOTSTRAP TOPIC
 */
public class Transactions {
    static String bootstrap;
    static TopicPartition partition;

    public static void main(String[] args) throws Exception {
        bootstrap = args[0];
        partition = new TopicPartition(args[1], 0);
        try (var a = producer(Map.of("transactional.id", args[1] + "-a", "compression.type", "gzip"));
                var b = producer(Map.of("transactional.id", args[1] + "-b", "compression.type", "lz4"));
                var plain = producer(Map.of("compression.type", "zstd"))) {
            a.initTransactions();
            b.initTransactions();
            for (int i = 0; i < 24; i++) {
                a.beginTransaction();
                b.beginTransaction();
                for (int k = 0; k < 3; k++) {
                    send(a, "a" + i + "." + k);
                    send(b, "b" + i + "." + k);
                    send(plain, "plain" + i + "." + k);
                }
                if (i % 4 < 2) {
                    end(a, i % 2 == 0);
                    send(plain, "between" + i);
                    end(b, i % 3 == 0);
                } else {
                    end(b, i % 3 == 0);
                    send(b, a, i);
                    end(a, i % 2 == 0);
                }
            }
            a.beginTransaction();
            send(a, "open");
            send(plain, "behind the open one");
            print();
            new BufferedReader(new InputStreamReader(System.in)).readLine();
            a.abortTransaction();
            print();
        }
    }

    /** A whole transaction of one producer within an open one of the other. */
    static void send(KafkaProducer<String, String> inner, KafkaProducer<String, String> outer, int i) throws Exception {
        inner.beginTransaction();
        send(inner, "inner" + i);
        send(outer, "around" + i);
        end(inner, i % 5 == 0);
    }

    static void end(KafkaProducer<String, String> p, boolean commit) {
        if (commit) {
            p.commitTransaction();
        } else {
            p.abortTransaction();
        }
    }

    static void send(KafkaProducer<String, String> p, String value) throws Exception {
        p.send(new ProducerRecord<>(partition.topic(), partition.partition(), null, value)).get();
    }

    static KafkaProducer<String, String> producer(Map<String, Object> more) {
        var config = new java.util.HashMap<String, Object>(more);
        config.put("bootstrap.servers", bootstrap);
        return new KafkaProducer<>(config, new StringSerializer(), new StringSerializer());
    }

    static void print() {
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap, "isolation.level", "read_committed",
                "auto.offset.reset", "earliest", "enable.auto.commit", "false");
        List<ConsumerRecord<String, String>> all = new ArrayList<>();
        long end;
        try (var consumer = new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer())) {
            consumer.assign(List.of(partition));
            end = consumer.endOffsets(List.of(partition)).get(partition);
            while (consumer.position(partition) < end) {
                consumer.poll(Duration.ofMillis(100)).forEach(all::add);
            }
        }
        for (var r : all) {
            System.out.println(r.offset() + " " + r.value());
        }
        System.out.println("end " + end);
        System.out.flush();
    }
}
